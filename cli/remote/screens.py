"""What a person reads before they sign or cannot go back, made from the signed bytes alone."""

from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256

from cli.output import grouped
from cli.remote.client import Server
from keyvault.domain.approvals import ApprovalRequest, Request, check_words
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    AcknowledgeDuty,
    ActivateKey,
    AllowUse,
    CertifyAuthority,
    CertifySigner,
    ChangePerson,
    Command,
    DeactivateKey,
    DestroyBackupKey,
    DestroyKey,
    EnrolCredential,
    EnrolSystem,
    ErasePayload,
    ExportComponents,
    ExportEnvelope,
    ExportKey,
    GenerateKey,
    HoldPerson,
    ImportComponents,
    ImportEnvelope,
    ImportKey,
    LiftHold,
    LiftLogHold,
    MakeBackupKey,
    PurgePayloads,
    RecoverLog,
    RegisterPerson,
    ReinstatePerson,
    RemovePerson,
    RemoveRule,
    RestoreBackup,
    ResumeKey,
    RetireKek,
    ReviewScreening,
    RevokeCredential,
    RevokeSystem,
    RotateKek,
    RotateSystem,
    SetDuty,
    SetKeyClass,
    SetRule,
    SetSpareKey,
    SetStandard,
    SuspendPerson,
)
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Assurance, Credential, Grant, thumbprint
from keyvault.domain.rules import Rule
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.signatures import spki_of_certificate

Pairs = list[tuple[str, object]]

WORDS: dict[type[Command], tuple[str, str]] = {
    GenerateKey: ("make a new key inside the HSM", "yes, until it is used: it can be destroyed"),
    ImportKey: ("bring a key of another party into the HSM", "yes, until it is used"),
    ExportKey: (
        "hand out a copy of the key, wrapped",
        "NO: a copy that left cannot be called back",
    ),
    ImportComponents: ("make a key of components that these people bring", "yes, until it is used"),
    ImportEnvelope: ("bring in a key that is wrapped for one of the HSM", "yes, until it is used"),
    ExportComponents: (
        "hand out the key as components, one to each of these people",
        "NO: a copy that left cannot be called back",
    ),
    ExportEnvelope: (
        "hand out a copy of the key, wrapped for another party",
        "NO: a copy that left cannot be called back",
    ),
    ActivateKey: ("let the key be used from now on", "yes: it can be suspended at any time"),
    ResumeKey: ("let the suspended key be used again", "yes: it can be suspended again"),
    DeactivateKey: ("end the key's use for new data", "NO: it will never protect anything again"),
    DestroyKey: ("destroy the key", "NO: the key and everything only it can open are lost"),
    AllowUse: ("let a system use a guarded key some times", "yes, until it has used it up"),
    MakeBackupKey: (
        "make a key that wraps backups, and share it among its holders",
        "yes: it can be destroyed",
    ),
    DestroyBackupKey: (
        "destroy a backup key",
        "NO: what only its backups hold comes back by its shares alone",
    ),
    RecoverLog: (
        "go on from an older copy of the log; events are lost",
        "NO: what is lost is lost, and the log says so for ever",
    ),
    RotateKek: ("make the next wrapping key of the service", "yes, it is retired again"),
    RetireKek: ("destroy an older wrapping key of the service", "NO"),
    RestoreBackup: (
        "let the holders of shares rebuild the backup key in the second token",
        "yes: the second token can be emptied",
    ),
    ErasePayload: ("erase what some events say; their proofs stay", "NO: it is gone for good"),
    PurgePayloads: (
        "remove what old events of a class say; their proofs stay",
        "NO: it is gone for good",
    ),
    LiftLogHold: ("end a hold, so that events can be purged", "yes: by setting a new one"),
    LiftHold: ("end a hold, so that the key can be destroyed", "yes: by setting a new one"),
    CertifyAuthority: (
        "make the key an authority, which certifies others and does nothing else",
        "NO: others believe what it signs until its certificate ends",
    ),
    CertifySigner: (
        "make the key one that signs what cards say of themselves, and nothing else",
        "NO: cards that it signed are believed until its certificate ends",
    ),
    RegisterPerson: ("give a person roles and accept their signatures", "yes: by removing them"),
    ChangePerson: ("give a person these roles and no other", "yes: by changing them again"),
    RemovePerson: ("take every role and key from a person", "yes: by registering them again"),
    ReviewScreening: ("record that a person's screening was reviewed", "yes: by reviewing again"),
    AcknowledgeDuty: ("say that you have read this duty and will keep it", "NO: it is your word"),
    HoldPerson: ("stop a person's rights at once, for some hours", "yes: by reinstating them"),
    SuspendPerson: ("stop a person's rights until they are reinstated", "yes: by reinstating them"),
    ReinstatePerson: ("let a person's rights count again", "yes: by suspending them again"),
    EnrolCredential: ("accept one more key of a person", "yes: by revoking it"),
    RevokeCredential: ("accept signatures by this key no longer", "yes: by enrolling another"),
    EnrolSystem: ("let a system use keys with its certificate", "yes: by revoking it"),
    RotateSystem: ("give a system its next certificate", "yes: by rotating it again"),
    RevokeSystem: ("refuse a system from now on", "yes: by enrolling it again"),
    SetRule: ("change who must sign for what", "yes, under the rule that it makes"),
    RemoveRule: ("remove a rule", "yes: by setting it again"),
    SetKeyClass: ("change what follows from a class, for keys made from now on", "yes"),
    SetDuty: ("ask everybody concerned to acknowledge a duty anew", "yes: by a next version"),
    SetSpareKey: (
        "let holders of shares believe the second token's gate by this key",
        "yes: by setting another",
    ),
    SetStandard: ("record which edition of a standard is in force", "yes: by recording another"),
}
IRREVERSIBLE = (
    ExportKey,
    ExportComponents,
    ExportEnvelope,
    DeactivateKey,
    DestroyKey,
    DestroyBackupKey,
    ErasePayload,
    PurgePayloads,
)


def key_of(server: Server, command: Command) -> Document | None:
    """The key that a command names, as the server describes it."""
    key_id = getattr(command, "key", None)
    return server.get(f"/v1/keys/{key_id}") if key_id else None


def fingerprint(key: Mapping[str, object]) -> str:
    """What two people compare to know that they speak of the same key."""
    if key.get("public_key"):
        return grouped(thumbprint(b64decode(str(key["public_key"]))))
    return f"check value {key['check_value']}" if key.get("check_value") else "none"


def about_key(key: Mapping[str, object] | None) -> Pairs:
    """Which key: as the server describes it. What was signed names only its id."""
    if not key:
        return []
    return [
        ("key", key.get("id")),
        ("label", key.get("label")),
        ("fingerprint", fingerprint(key)),
        ("kind", f"{key.get('algorithm')} to {key.get('usage')}, class {key.get('key_class')}"),
        ("state", key.get("state")),
    ]


def about_command(command: Command) -> Pairs:
    """What will be done, with every parameter that is signed."""
    done, reversible = WORDS[type(command)]
    pairs: Pairs = [("this will", done), ("can be undone", reversible)]
    for name in command.parameters():
        shown = told(getattr(command, name))
        pairs.append((name.replace("_", " "), shown))
    return pairs


def told(value: object) -> object:
    """A parameter in words: keys and certificates by their fingerprint, the rest as it is."""
    match value:
        case Credential():
            only = " that only logs in" if value.login_only else ""
            return f"{value.assurance} key{only} {grouped(value.thumbprint)}"
        case Grant():
            return f"{value.role} for {value.scope} until {value.until}"
        case bytes():
            return _fingerprint(value)
        case tuple():
            return [told(item) for item in value]
        case _ if is_dataclass(value):
            return ", ".join(
                f"{field.name.replace('_', ' ')} {told(getattr(value, field.name))}"
                for field in fields(value)
            )
        case _:
            return "none" if value is None else value


def _fingerprint(data: bytes) -> str:
    try:
        return f"certificate of key {grouped(thumbprint(spki_of_certificate(data)))}"
    except InvalidInputError:
        return f"{len(data)} bytes, SHA-256 {grouped(sha256(data).hexdigest())}"


def about_scope(scope: Scope | None) -> Pairs:
    if scope is None:
        return [("for", "the whole site")]
    return [("for", f"party {scope.party}, role {scope.user_role}, user id {scope.user_id}")]


def about_request(
    request: Request, asked: ApprovalRequest | None, authority: Authority | None
) -> Pairs:
    """Everything that an approver signs, in words, and who has signed already."""
    return [
        *about_command(request.command),
        *about_scope(request.scope),
        ("asked for by", _named(request.requester, authority)),
        ("asked at", f"{text_of(request.requested_at)}, expires {text_of(request.expires_at)}"),
        *about_quorum(request.rule, request.requester, asked, authority),
        ("request", request.id),
        ("check words", check_words(request.digest)),
    ]


def about_quorum(
    rule: Rule, requester: str, asked: ApprovalRequest | None, authority: Authority | None
) -> Pairs:
    """Who has decided and who still can. The requester never counts."""
    decided = [approval.approver for approval in asked.approvals] if asked else []
    missing = max(0, rule.approvals - len(decided))
    pairs: Pairs = [("rule", about_rule(rule))]
    if decided:
        pairs.append(("decided", _list(decided, authority)))
    if authority is None:
        return [*pairs, ("still needed", f"{missing} signatures")]
    can = sorted(
        person.id
        for person in authority.people.values()
        if person.roles & set(rule.roles) and person.id not in {*decided, requester}
    )
    return [*pairs, ("still needed", f"{missing} of {_list(can, authority)}")]


def about_rule(rule: Rule) -> str:
    """Who must sign, and how soon it happens, in a sentence."""
    who = f"{rule.approvals} holders of {' or '.join(rule.roles)}, not the requester"
    groups = f", from {rule.groups} {rule.group_by}s" if rule.groups > 1 else ""
    card = f", with a {rule.assurance}" if rule.assurance is Assurance.CARD else ""
    wait = f", not before {rule.wait // 60} minutes have passed" if rule.wait else ""
    glass = "BREAKS THE GLASS: " if rule.break_glass else ""
    return f"{glass}{who}{groups}{card}{wait} (rule {rule.id})"


def _list(people: Iterable[str], authority: Authority | None) -> str:
    return ", ".join(_named(person, authority) for person in people) or "nobody"


def _named(person: str, authority: Authority | None) -> str:
    known = authority.people.get(person) if authority else None
    return f"{known.name} ({person})" if known else person
