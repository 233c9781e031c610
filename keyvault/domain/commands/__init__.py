"""Acts that need approvals, each with every parameter that its approvers sign.

A new dual-controlled act is a class in here, a line in the lists below and an executor in
operations.
"""

from keyvault.domain.commands.authorities import CertifyAuthority, CertifySigner
from keyvault.domain.commands.backups import (
    DestroyBackupKey,
    Holder,
    MakeBackupKey,
    RecoverLog,
    RestoreBackup,
)
from keyvault.domain.commands.base import Command
from keyvault.domain.commands.evidence import ErasePayload, LiftLogHold, PurgePayloads
from keyvault.domain.commands.handovers import (
    ExportComponents,
    ExportEnvelope,
    ImportComponents,
    ImportEnvelope,
)
from keyvault.domain.commands.keks import RetireKek, RotateKek
from keyvault.domain.commands.keys import (
    ActivateKey,
    AllowUse,
    DeactivateKey,
    DestroyKey,
    ExportKey,
    GenerateKey,
    ImportKey,
    LiftHold,
    ResumeKey,
)
from keyvault.domain.commands.people import (
    AcknowledgeDuty,
    ChangePerson,
    EnrolCredential,
    HoldPerson,
    RegisterPerson,
    ReinstatePerson,
    RemovePerson,
    ReviewScreening,
    RevokeCredential,
    SuspendPerson,
)
from keyvault.domain.commands.rules import (
    RemoveRule,
    SetDuty,
    SetKeyClass,
    SetRule,
    SetSpareKey,
    SetStandard,
)
from keyvault.domain.commands.systems import EnrolSystem, RevokeSystem, RotateSystem
from keyvault.domain.documents import read
from keyvault.domain.errors import InvalidInputError

__all__ = [
    "AUTHORITY_COMMANDS",
    "COMMANDS",
    "KEY_COMMANDS",
    "PEOPLE_COMMANDS",
    "PERSONAL_COMMANDS",
    "PROTECTIVE_COMMANDS",
    "RULE_COMMANDS",
    "AcknowledgeDuty",
    "ActivateKey",
    "AllowUse",
    "CertifyAuthority",
    "CertifySigner",
    "ChangePerson",
    "Command",
    "DeactivateKey",
    "DestroyBackupKey",
    "DestroyKey",
    "EnrolCredential",
    "EnrolSystem",
    "ErasePayload",
    "ExportComponents",
    "ExportEnvelope",
    "ExportKey",
    "GenerateKey",
    "HoldPerson",
    "Holder",
    "ImportComponents",
    "ImportEnvelope",
    "ImportKey",
    "LiftHold",
    "LiftLogHold",
    "MakeBackupKey",
    "NewKey",
    "PurgePayloads",
    "RecoverLog",
    "RegisterPerson",
    "ReinstatePerson",
    "RemovePerson",
    "RemoveRule",
    "RestoreBackup",
    "ResumeKey",
    "RetireKek",
    "ReviewScreening",
    "RevokeCredential",
    "RevokeSystem",
    "RotateKek",
    "RotateSystem",
    "SetDuty",
    "SetKeyClass",
    "SetRule",
    "SetSpareKey",
    "SetStandard",
    "SuspendPerson",
    "command_of",
]

# Those that bring a key into being; its id is that of the request.
NewKey = GenerateKey | ImportKey | ImportComponents | ImportEnvelope
KEY_COMMANDS: tuple[type[Command], ...] = (
    GenerateKey,
    ImportKey,
    ExportKey,
    ImportComponents,
    ImportEnvelope,
    ExportComponents,
    ExportEnvelope,
    ActivateKey,
    ResumeKey,
    DeactivateKey,
    DestroyKey,
    AllowUse,
    LiftHold,
    CertifyAuthority,
    CertifySigner,
    MakeBackupKey,
    DestroyBackupKey,
    RestoreBackup,
    RecoverLog,
    ErasePayload,
    PurgePayloads,
    LiftLogHold,
    RotateKek,
    RetireKek,
)
PEOPLE_COMMANDS: tuple[type[Command], ...] = (
    RegisterPerson,
    ChangePerson,
    RemovePerson,
    ReviewScreening,
    SuspendPerson,
    ReinstatePerson,
    EnrolCredential,
    RevokeCredential,
    EnrolSystem,
    RotateSystem,
)
RULE_COMMANDS: tuple[type[Command], ...] = (
    SetRule,
    RemoveRule,
    SetKeyClass,
    SetDuty,
    SetStandard,
    SetSpareKey,
)
# What only ever takes power away, and so must never wait for a second person.
PROTECTIVE_COMMANDS: tuple[type[Command], ...] = (HoldPerson, RevokeSystem)
# What a person says for themselves: their own signature is all it needs.
PERSONAL_COMMANDS: tuple[type[Command], ...] = (AcknowledgeDuty,)
AUTHORITY_COMMANDS: tuple[type[Command], ...] = (
    *PEOPLE_COMMANDS,
    *RULE_COMMANDS,
    *PROTECTIVE_COMMANDS,
    *PERSONAL_COMMANDS,
)
COMMANDS: dict[str, type[Command]] = {c.name: c for c in (*KEY_COMMANDS, *AUTHORITY_COMMANDS)}


def command_of(name: str, parameters: object) -> Command:
    """Read a command strictly: every field, no other. Raises `InvalidInputError`."""
    kind = COMMANDS.get(name)
    if kind is None:
        raise InvalidInputError(f"no command is called {name[:40]!r}")
    return read(kind, parameters, name)
