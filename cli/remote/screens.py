"""What a person reads before they sign or cannot go back, made from the signed bytes alone."""

from base64 import b64decode
from collections.abc import Iterable, Mapping

from cli.output import grouped
from cli.remote.client import Server
from keyvault.domain.approvals import ApprovalRequest, Request, Rule, check_words
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ActivateKey,
    Command,
    DeactivateKey,
    DestroyKey,
    EnrolSystem,
    ExportKey,
    GenerateKey,
    ImportKey,
    RegisterPerson,
    RemovePerson,
    ResumeKey,
    RevokeSystem,
)
from keyvault.domain.people import thumbprint
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
    ActivateKey: ("let the key be used from now on", "yes: it can be suspended at any time"),
    ResumeKey: ("let the suspended key be used again", "yes: it can be suspended again"),
    DeactivateKey: ("end the key's use for new data", "NO: it will never protect anything again"),
    DestroyKey: ("destroy the key", "NO: the key and everything only it can open are lost"),
    RegisterPerson: ("give a person roles and accept their signatures", "yes: by removing them"),
    RemovePerson: ("take every role from a person", "yes: by registering them again"),
    EnrolSystem: ("let a system use keys with its certificate", "yes: by revoking it"),
    RevokeSystem: ("refuse a system from now on", "yes: by enrolling it again"),
}
IRREVERSIBLE = (ExportKey, DeactivateKey, DestroyKey)


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
    for name, value in command.parameters().items():
        shown = _public_key(command, name) or value
        pairs.append((name.replace("_", " "), shown))
    return pairs


def _public_key(command: Command, name: str) -> str:
    if isinstance(command, RegisterPerson) and name == "spki":
        return f"key {grouped(thumbprint(command.spki))}"
    if isinstance(command, EnrolSystem) and name == "certificate":
        return f"key {grouped(thumbprint(spki_of_certificate(command.certificate)))}"
    return ""


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
    pairs: Pairs = [("rule", f"{rule.approvals} holders of {rule.role}, not the requester")]
    if decided:
        pairs.append(("decided", _list(decided, authority)))
    if authority is None:
        return [*pairs, ("still needed", f"{missing} signatures")]
    can = sorted(
        person.id
        for person in authority.people.values()
        if rule.role in person.roles and person.id not in {*decided, requester}
    )
    return [*pairs, ("still needed", f"{missing} of {_list(can, authority)}")]


def _list(people: Iterable[str], authority: Authority | None) -> str:
    return ", ".join(_named(person, authority) for person in people) or "nobody"


def _named(person: str, authority: Authority | None) -> str:
    known = authority.people.get(person) if authority else None
    return f"{known.name} ({person})" if known else person
