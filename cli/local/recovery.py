"""The recovery ceremony: on the service's own host, with the people who approve beside it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import DEFAULT_CONFIG, ConfigFile, command, group
from cli.confirm import confirm
from cli.desk.signing import KeyCard, KeyFile
from cli.errors import UsageError
from cli.output import answer, facts, say
from cli.passphrases import PassphraseFd, Secrets
from keyvault import bootstrap
from keyvault.domain.approvals import Approval, Decision, Request, check_words
from keyvault.domain.authority import Authority
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.operations import recovery
from keyvault.operations.vault import Vault
from keyvault.settings import Settings
from keyvault.wire import Client

app = group("Go on after a true loss.")
PATIENCE = 60.0  # seconds for the log gate


Requester = Annotated[str, typer.Option(metavar="PERSON", help="Who asks for it.")]
Approvers = Annotated[
    list[str], typer.Option(metavar="PERSON=FILE", help="Who signs, and their key; or PERSON=card.")
]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why: it stays on record for ever.")]


@command(
    app,
    "recover",
    "keyvault recover --requester alice --approver bob=bob.key --approver carol=carol.key"
    " --reason 'the disk is lost'",
)
def recover(
    requester: Requester,
    approver: Approvers,
    reason: Why,
    config: ConfigFile = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Let an older copy of the log go on in a new epoch. Only the log gate may run meanwhile.

    First look for the newer copy, on every disk and standby: see the runbook rolled-back.
    """
    vault = bootstrap.build(Settings.load(config))
    gate = Client(vault.settings.log.socket)

    def ask(method: str, *arguments: object) -> dict[str, object]:
        return dict(gate.call(method, *arguments, timeout=PATIENCE))

    try:
        request = recovery.propose(vault, ask("anchor"), requester, reason)
        confirm("lose a part of the log", _about(request), yes=yes)
        signed = _all_signed(vault, request, approver, Secrets(passphrase_fd))
        done = recovery.recover(vault, request, signed, ask)
    finally:
        gate.close()
        vault.close()
    say("retire every witness that saw what is lost; name new ones in the policies, then start")
    answer({"epoch": done["epoch"], "size": done["size"]}, facts(done.items()))


def _all_signed(
    vault: Vault, request: Request, people: list[str], secrets: Secrets
) -> list[Approval]:
    with vault.database.reading() as work:
        authority = vault.authority(work)
    return [_signed(request, authority, one, secrets) for one in people]


def _about(request: Request) -> list[tuple[str, object]]:
    told = request.command.parameters()
    pairs = [(name.replace("_", " "), value) for name, value in told.items()]
    what = ("this will", "go on without the events that are lost, for ever")
    return [what, *pairs, ("check words", check_words(request.digest))]


def _signed(request: Request, authority: Authority, given: str, secrets: Secrets) -> Approval:
    person, _, place = given.partition("=")
    if not place:
        raise UsageError("write it like: --approver bob=bob.key, or bob=card")
    keys = [one.spki for one in authority.person(person).deciding]
    where = KeyCard("") if place == "card" else KeyFile(Path(place))
    key = where.to_decide(secrets, keys)
    unsigned = Approval(
        approver=person,
        credential=thumbprint(key.spki),
        decision=Decision.APPROVE,
        reason="recovery",
        at=text_of(datetime.now(UTC)),
        seen=request.seen,
    )
    return replace(unsigned, signature=key.sign(unsigned.message(request.document)))
