"""Acts that need approvals, each with every parameter that its approvers sign.

A new dual-controlled act is a class here, a line in `COMMANDS` and an executor in operations.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_type_hints
from uuid import UUID

from hsm.types import USAGES, Algorithm, KeyUsage
from keyvault.domain.canonical import Document, Json
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Role

TEXT_LIMIT = 200  # characters of a label, name or reason
BYTES_LIMIT = 16_384  # bytes of a certificate, public key or wrapped blob
LIST_LIMIT = 1_000
MAX_DAYS = 36_525


@dataclass(frozen=True, slots=True)
class Command:
    """One act with its parameters. Field types are str, int, UUID, bytes, enums, tuples of them."""

    name: ClassVar[str]

    def parameters(self) -> Document:
        """The canonical form: bytes as base64, everything else as its text or number."""
        return {field.name: _encode(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class GenerateKey(Command):
    """Make a key in the device. Its id will be the request's id."""

    name = "generate-key"
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    protect_days: int
    process_days: int

    def __post_init__(self) -> None:
        _check_key_terms(self)


@dataclass(frozen=True, slots=True)
class ImportKey(Command):
    """Unwrap a key that another party wrapped with AES-KWP under our resident `kek`."""

    name = "import-key"
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    protect_days: int
    process_days: int
    kek: UUID
    blob: bytes

    def __post_init__(self) -> None:
        _check_key_terms(self)


@dataclass(frozen=True, slots=True)
class ExportKey(Command):
    """Wrap `key` with AES-KWP under the resident `kek`; only where the key's class allows it."""

    name = "export-key"
    key: UUID
    kek: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ActivateKey(Command):
    name = "activate-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeKey(Command):
    name = "resume-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class DeactivateKey(Command):
    name = "deactivate-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class DestroyKey(Command):
    name = "destroy-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class RegisterPerson(Command):
    """Add a person with roles and the public key (SPKI, DER) that signs for them."""

    name = "register-person"
    person: str
    full_name: str
    roles: tuple[Role, ...]
    spki: bytes


@dataclass(frozen=True, slots=True)
class RemovePerson(Command):
    name = "remove-person"
    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class EnrolSystem(Command):
    """Pin a DCC system's client certificate (DER) and say what it may do, in the request's scope.

    `keys` names key ids, or is ("*",) for every key of the scope.
    """

    name = "enrol-system"
    system: str
    full_name: str
    certificate: bytes
    actions: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevokeSystem(Command):
    name = "revoke-system"
    system: str
    reason: str


KEY_COMMANDS: tuple[type[Command], ...] = (
    GenerateKey,
    ImportKey,
    ExportKey,
    ActivateKey,
    ResumeKey,
    DeactivateKey,
    DestroyKey,
)
AUTHORITY_COMMANDS: tuple[type[Command], ...] = (
    RegisterPerson,
    RemovePerson,
    EnrolSystem,
    RevokeSystem,
)
COMMANDS: dict[str, type[Command]] = {c.name: c for c in (*KEY_COMMANDS, *AUTHORITY_COMMANDS)}


def command_of(name: str, parameters: object) -> Command:
    """Read a command strictly: every field, no other. Raises `InvalidInputError`."""
    kind = COMMANDS.get(name)
    if kind is None:
        raise InvalidInputError(f"no command is called {name[:40]!r}")
    names = {field.name for field in fields(kind)}
    if not isinstance(parameters, dict) or set(parameters) != names:
        raise InvalidInputError(f"{name} takes exactly: {', '.join(sorted(names))}")
    hints = get_type_hints(kind)
    return kind(**{key: _decode(hints[key], key, value) for key, value in parameters.items()})


def _encode(value: object) -> Json:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value if isinstance(value, int) else str(value)


def _decode(hint: object, key: str, value: object) -> object:
    try:
        return _decoders(hint, value)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{key} is not what it should be: {error}") from error


def _decoders(hint: Any, value: object) -> object:
    if hint is int:
        return _whole(value)
    if getattr(hint, "__origin__", None) is tuple:
        return _items(hint.__args__[0], value)
    if not isinstance(value, str):
        raise ValueError("a text was expected")  # noqa: TRY004  (bad input, not a bug)
    if hint is bytes:
        return _bytes(value)
    if hint is str:
        return _text(value)
    return hint(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_DAYS:
        raise ValueError(f"a whole number from 1 to {MAX_DAYS} was expected")
    return value


def _items(hint: object, value: object) -> tuple[object, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= LIST_LIMIT:
        raise ValueError(f"a list of 1 to {LIST_LIMIT} was expected")
    items = tuple(_decoders(hint, item) for item in value)
    if len(set(items)) != len(items):
        raise ValueError("an item stands twice")
    return items


def _bytes(value: str) -> bytes:
    data = b64decode(value, validate=True)
    if not 0 < len(data) <= BYTES_LIMIT or b64encode(data).decode() != value:
        raise ValueError(f"base64 of 1 to {BYTES_LIMIT} bytes was expected")
    return data


def _text(value: str) -> str:
    if not 0 < len(value) <= TEXT_LIMIT or not value.isprintable() or value != value.strip():
        raise ValueError(f"1 to {TEXT_LIMIT} printable characters were expected")
    return value


def _check_key_terms(command: GenerateKey | ImportKey) -> None:
    allowed = USAGES[command.algorithm]
    if command.usage not in allowed:
        raise InvalidInputError(
            f"{command.algorithm} keys are not made for {command.usage}",
            next_step=f"use one of: {', '.join(sorted(allowed))}",
        )
    if command.process_days < command.protect_days:
        raise InvalidInputError("a key must process at least as long as it protects")
