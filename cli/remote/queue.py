"""The requests that wait for signatures: what each means, how old it is, and whose turn it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cli.remote.client import Server
from cli.remote.requests import rebuilt
from cli.remote.screens import WORDS
from keyvault.domain.approvals import ApprovalRequest, RequestState
from keyvault.domain.canonical import Document
from keyvault.domain.commands import COMMANDS
from keyvault.domain.times import text_of

PAGE = 500  # requests, the most that one answer holds


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request as somebody who might sign it sees it."""

    asked: ApprovalRequest
    age: timedelta
    missing: int
    obstacle: str  # why this person's signature would not count, empty if it would

    def document(self) -> Document:
        request = self.asked.request
        done, reversible = WORDS[type(request.command)]
        return {
            "request": str(request.id),
            "command": request.command.name,
            "this_will": done,
            "can_be_undone": reversible,
            "requester": request.requester,
            "requested_at": text_of(request.requested_at),
            "age_seconds": int(self.age.total_seconds()),
            "expires_at": text_of(request.expires_at),
            "missing": self.missing,
            "may_sign": not self.obstacle,
            "obstacle": self.obstacle,
        }

    def sentence(self) -> str:
        told = self.document()
        turn = self.obstacle or f"sign or refuse it: keyvault approvals approve {told['request']}"
        return (
            f"{told['requester']} asked {span(self.age)} ago to {told['this_will']}"
            f" (can be undone: {told['can_be_undone']});"
            f" {self.missing} {'signature' if self.missing == 1 else 'signatures'} missing; {turn}"
        )


def waiting(server: Server, me: Document) -> list[Waiting]:
    """What can still be signed now, oldest first. `me` is what /v1/whoami says."""
    now = datetime.now(UTC)
    alive = (asked for asked in _requested(server) if asked.request.expires_at > now)
    found = [_seen_by(asked, me, now) for asked in alive]
    return sorted(found, key=lambda one: one.asked.request.requested_at)


def _requested(server: Server) -> Iterator[ApprovalRequest]:
    after: str | None = None
    while True:
        page = server.get("/v1/requests", state=RequestState.REQUESTED, limit=PAGE, after=after)
        yield from map(rebuilt, page["items"])
        after = page["next"]
        if after is None:
            return


def _seen_by(asked: ApprovalRequest, me: Document, now: datetime) -> Waiting:
    request = asked.request
    missing = max(0, request.rule.approvals - len(asked.approvals))
    return Waiting(asked, now - request.requested_at, missing, _obstacle(asked, me))


def _obstacle(asked: ApprovalRequest, me: Document) -> str:
    if asked.request.requester == me["id"]:
        return "you asked for it, so others sign it"
    if me["id"] in {approval.approver for approval in asked.approvals}:
        return "you have signed it"
    roles = set(asked.request.rule.roles)
    if roles & set(me["roles"]):
        return ""
    lapses = [lapse["text"] for g in me["grants"] if g["role"] in roles for lapse in g["lapses"]]
    return "; ".join(lapses) or f"it takes the role {' or '.join(sorted(roles))}"


def span(time: timedelta) -> str:
    """A time as people say it: its largest unit alone."""
    seconds = max(0, int(time.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def row(item: Document, now: datetime) -> tuple[object, ...]:
    """A request of any state as a line of a table."""
    done, reversible = WORDS[COMMANDS[item["command"]]]
    age = span(now - datetime.fromisoformat(item["requested_at"]))
    return item["id"], item["state"], done, reversible, item["requester"], age, item["expires_at"]
