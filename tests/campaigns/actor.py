"""Does the main job over and over, in a child that may be killed at any instruction.

    python -m tests.campaigns.actor CONFIG FOLDER-OF-CREDENTIALS

For each line on standard input a child is forked, from a process that has loaded no module and
runs no thread. The child's pid and then what was acknowledged to it are lines on standard output.
"""

import asyncio
import hashlib
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from hsm.types import Algorithm, KeyUsage
from keyvault.bootstrap import build
from keyvault.domain.access import Principal
from keyvault.domain.approvals import Approval, Decision
from keyvault.domain.commands import ActivateKey, Command, DestroyKey, GenerateKey
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.operations import approvals, keys, use
from keyvault.operations.vault import Vault
from keyvault.settings import Settings
from keyvault.signatures import SoftwareCredential
from tests.stack import OFFICERS, PASSPHRASE

SCOPE = Scope("ACME", "IS", "90-B3-D5-1F-30-01-00-00")
CLASSES = ("critical", "bulk")  # resident and wrapped


class Actor:
    """Three officers in one process, who order, use, stop and destroy keys."""

    def __init__(self, vault: Vault, credentials: dict[str, SoftwareCredential]) -> None:
        self._vault = vault
        self._credentials = credentials
        with vault.database.reading() as work:
            authority = vault.authority(work)
        people, self._system = authority.people, next(iter(authority.systems.values()))
        until = datetime.now(UTC) + timedelta(hours=1)
        self._who = {
            name: Principal(
                people[name], until, people[name].credentials[0].thumbprint, authority.duties
            )
            for name in OFFICERS
        }

    async def live(self, number: int) -> None:
        """One key's whole life after another's."""
        while True:
            number += 1
            key_class = CLASSES[number % 2]
            terms = (f"key {number}", Algorithm.EC_P256, KeyUsage.SIGN, key_class, 30, 60)
            key = UUID(self._carry_out(GenerateKey(*terms))["key"])
            say(key=str(key), state="pre-active")
            self._carry_out(ActivateKey(key, "campaign"))
            say(key=str(key), state="active")
            for _ in range(3):
                await self._sign(key)
            keys.suspend(self._vault, self._who["bob"], key, "campaign")
            say(key=str(key), state="suspended")
            if number % 3:
                self._carry_out(DestroyKey(key, "campaign"))
                say(key=str(key), state="destroyed")

    def _carry_out(self, command: Command) -> dict[str, str]:
        asked = approvals.ask(self._vault, self._who["alice"], command, SCOPE)
        for name in ("bob", "carol"):
            signed = self._approval(name, asked)
            approvals.decide(self._vault, self._who[name], asked.request.id, signed)
        return approvals.execute(self._vault, self._who["alice"], asked.request.id).outcome

    def _approval(self, name: str, asked: approvals.ApprovalRequest) -> dict[str, object]:
        credential, document = self._credentials[name], asked.request.document
        unsigned = Approval(
            approver=name,
            credential=thumbprint(credential.spki),
            decision=Decision.APPROVE,
            reason="campaign",
            at=text_of(datetime.now(UTC)),
            seen=approvals.Seen(**document["seen"]),
        )
        message = unsigned.message(document)
        return replace(unsigned, signature=credential.sign(message)).document()

    async def _sign(self, key: UUID) -> None:
        digest = hashlib.sha256(os.urandom(8)).digest()
        # Systems sign, people do not: enrolment is not what this campaign is about, so the
        # caller is an enrolled system's principal as the api would make it.
        system, until = self._system, datetime.now(UTC) + timedelta(hours=1)
        who = Principal(system, until, system.pins[-1].spki_sha256)
        used = await use.sign(self._vault, who, key, [digest])
        say(index=used.index, leaf_hash=used.leaf_hash.hex())


def say(**what: object) -> None:
    """Tell the campaign what was acknowledged, in one write."""
    os.write(1, json.dumps(what).encode() + b"\n")


def child(settings: Settings, credentials: dict[str, SoftwareCredential], number: int) -> None:
    say(pid=os.getpid())
    vault = build(settings)
    asyncio.run(Actor(vault, credentials).live(number))


def main() -> None:
    settings, folder = Settings.load(Path(sys.argv[1])), Path(sys.argv[2])
    credentials = {n: SoftwareCredential.open(folder / f"{n}.key", PASSPHRASE) for n in OFFICERS}
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                child(settings, credentials, int(line))
            except Exception as error:  # noqa: BLE001  (a killed gate or recorder ends a life)
                say(ended=f"{type(error).__name__}: {error}")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        say(over=True)


if __name__ == "__main__":
    main()
