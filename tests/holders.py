"""Holders of shares: their share keys, what they sign, and how they enter their words."""

from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec

from keyvault import sealed
from keyvault.domain.backups import ENTRY_CONTEXT, SHARE_CONTEXT
from keyvault.domain.canonical import parse
from keyvault.domain.commands import Holder, MakeBackupKey, RestoreBackup
from keyvault.domain.people import thumbprint
from keyvault.domain.shareholding import statement
from keyvault.signatures import SoftwareCredential, spki_der
from tests import devices
from tests.stack import Document, Stack, ok

NAMES = ("bob", "carol", "dirk")


@dataclass
class Sharer:
    """A custodian with a share key of their own."""

    name: str
    credential: SoftwareCredential
    key: ec.EllipticCurvePrivateKey

    def holder(self, origin: str) -> Holder:
        spki = spki_der(self.key.public_key())
        unsigned = Holder(self.name, spki, thumbprint(self.credential.spki), b"-")
        return replace(unsigned, signature=self.credential.sign(statement(origin, unsigned)))

    def words(self, stack: Stack, backup_key: str) -> str:
        """Open the envelope that is theirs."""
        client = stack.person(self.name).client()
        [own] = ok(client.get(f"/v1/shares?backup_key={backup_key}&holder={self.name}"))["items"]
        path = f"/v1/backup-keys/{backup_key}/shares/{own['number']}/openings"
        envelope = b64decode(ok(client.post(path))["envelope"])
        told = sealed.opened(self.key, envelope, SHARE_CONTEXT + UUID(backup_key).bytes)
        return str(parse(told, max_size=4096)["words"])


def with_spare(stack: Stack) -> None:
    """Give a stack that does not run yet a second token."""
    folder = stack.folder / "spare"
    folder.mkdir()
    token = devices.softhsm(folder, "spare")
    pin = stack.settings.credentials / "spare"
    pin.touch(0o600)
    pin.write_bytes(token.pin + b"\n")
    values = "\n".join(f"{name} = '{value}'" for name, value in token.environment.items())
    stack.configure(
        tables=f"[spare]\nuri = '''{token.uri}'''\nsocket = 'spare.sock'\npin = 'spare'\n"
        f"[spare.environment]\n{values}"
    )


def sharers(stack: Stack) -> list[Sharer]:
    stack.register("dirk", "key-custodian")
    return [
        Sharer(name, stack.person(name).credential, ec.generate_private_key(ec.SECP256R1()))
        for name in NAMES
    ]


def backup_key(stack: Stack, people: list[Sharer], label: str = "backups", **more: object) -> str:
    """Make a backup key that two of three rebuild; return its id."""
    holders = tuple(one.holder(stack.settings.origin) for one in people)
    wanted = MakeBackupKey(label, 2, holders, more.get("supersedes"), "for a test")
    return str(stack.carry_out(stack.ask(wanted, None))["outcome"]["backup_key"])


def back_up(stack: Stack, key: str, path: Path, scope: Document | None = None) -> Document:
    """Write a backup to a file; return how it stands in the register."""
    body = {"backup_key": key, "scope": scope, "place": "safe 2", "owner": "bob"}
    client = stack.person("bob").client()
    answer = client.post("/v1/backups", json=body)
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return ok(client.get(f"/v1/backups/{answer.headers['backup-id']}"))


def begin(stack: Stack, backup: Document, *, drill: bool) -> Document:
    """Ask for a restoration, have it approved and begun; return it."""
    client = stack.person("alice").client()
    keys = ok(client.get("/v1/backup-keys"))["items"]
    [key] = [one for one in keys if one["id"] == backup["backup_key"]]
    names = ("threshold", "share_set", "check_value")
    wanted = RestoreBackup(
        backup=UUID(backup["id"]),
        backup_key=UUID(key["id"]),
        sha256=backup["sha256"],
        drill=drill,
        reason="for a test",
        **{name: key[name] for name in names},
    )
    done = stack.carry_out(stack.ask(wanted, None))["outcome"]
    return ok(client.get(f"/v1/restorations/{done['restoration']}"))


def enter(stack: Stack, restoration: Document, name: str, words: str):
    """Send words, sealed as the holder's terminal does; the answer, whatever it is."""
    context = ENTRY_CONTEXT + UUID(restoration["id"]).bytes
    box = sealed.seal(b64decode(restoration["entry"]), words.encode(), context)
    body = {"sealed": b64encode(box).decode()}
    client = stack.person(name).client()
    return client.post(f"/v1/restorations/{restoration['id']}/shares", json=body)


def load(stack: Stack, restoration: Document, data: bytes, part: int = 50_000) -> Document:
    """Upload a file in parts and end; return what came of it."""
    client, path = stack.person("alice").client(), f"/v1/restorations/{restoration['id']}"
    for at in range(0, len(data), part):
        body = {"offset": at, "lines": b64encode(data[at : at + part]).decode()}
        ok(client.post(f"{path}/lines", json=body))
    return ok(client.post(f"{path}/completion", json={"keep": True}))
