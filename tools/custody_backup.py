"""A chapter for stories: a backup is restored into a second token, and a key of it is used."""

import os
import secrets
from hashlib import sha256
from pathlib import Path
from unittest import mock
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hsm.modules import module_of
from hsm.registry import initialise_token
from hsm.types import Mechanism
from hsm.uri import parse
from keyvault import bootstrap, signatures
from keyvault.settings import Settings
from tools import narrated
from tools.narrated import Story, StoryError, carry_out, note

HOLDERS = ("erin", "frank", "grace")
LABEL = "second"


def restored(story: Story, scope: str) -> None:
    """Back up everything, drill, restore into a second token and sign there.

    The story has its officers logged in, and `HOLDERS` are custodians. Adds `restored`.
    """
    _second_token(story)
    backup_key = _shared(story)
    key = _exchanged(story, scope)
    file, backup = _backed_up(story, backup_key)
    story.tell(
        "A drill: everything is restored, compared, and destroyed again",
        "Two of three holders enter their shares at their own terminals, sealed for the gate.",
    )
    _restored(story, "drill", backup, file)
    story.tell("The backup is restored into the second token, and a key of it signs there")
    report = _restored(story, "restore", backup, file)
    _used(story, key)
    story.summary["restored"] = {"backup": backup, "key": key, **report}


def _second_token(story: Story) -> None:
    story.tell("A second token is set up, and the service starts anew with it")
    config = Path(story.summary["config"])
    settings = Settings.load(config)
    pin, so_pin = (secrets.token_urlsafe(12).encode() for _ in range(2))
    uri = parse(settings.keys.uri)
    with mock.patch.dict(os.environ, settings.keys.environment):
        made = initialise_token(module_of(uri), LABEL, so_pin, pin)
    if settings.credentials is None:
        raise StoryError("the service has no folder for PINs")
    place = settings.credentials / "spare"
    place.touch(0o600)
    place.write_bytes(pin + b"\n")
    lines = [f"{name} = '{value}'" for name, value in settings.keys.environment.items()]
    more = f"\n[spare]\nuri = '''{made}'''\nsocket = 'sockets/spare.sock'\npin = 'spare'\n"
    config.write_text(config.read_text() + more + "[spare.environment]\n" + "\n".join(lines) + "\n")
    narrated.stop(story)
    narrated.serve(story)


def _shared(story: Story) -> str:
    story.tell(
        "A key for backups is made in the HSM and shared: any two of three rebuild it",
        "Each holder signs the key that their share is sealed to. No two shares ever meet.",
    )
    holders: list[str] = []
    for person in HOLDERS:
        out = _share_key(story, person)
        story.passphrases[f"{person} share"] = secrets.token_urlsafe(12)
        words = ("shares", "key", "--out", out, "--credential")
        own = str(story.folder / "people" / f"{person}.key")
        story.keyvault(*words, own, person=person, signers=(person, f"{person} share"))
        holders += ["--holder", f"{out}.json"]
    words = ("--label", "everything", "--threshold", "2", "--reason", "the first")
    key = carry_out(story, story.keyvault("backups", "key", *words, *holders, person="alice"))
    for bag, person in enumerate(HOLDERS, 17):
        paper = str(story.folder / f"share-{person}.pdf")
        opening = ("shares", "open", key, "--share-key", _share_key(story, person))
        more = ("--paper", paper, "--bag", str(bag))
        story.keyvault(*opening, *more, person=person, signers=(f"{person} share",))
        where = ("--bag", str(bag), "--place", "safe 2")
        story.keyvault("shares", "confirm", key, *where, person=person)
    return key


def _exchanged(story: Story, scope: str) -> str:
    """A key whose class lets it leave: what others keep in the token is in no backup."""
    terms = ("--algorithm", "EC-P256", "--usage", "sign", "--class", "exchange")
    words = ("keys", "order", "--scope", scope, "--label", "can be restored", *terms)
    key = carry_out(story, story.keyvault(*words, person="alice"))
    reason = ("--reason", "accepted for use")
    carry_out(story, story.keyvault("keys", "activate", key, *reason, person="alice"))
    return key


def _backed_up(story: Story, key: str) -> tuple[str, str]:
    story.tell("Bob makes a backup, and anybody can check it")
    file = str(story.folder / "everything.backup")
    words = ("--backup-key", key, "--out", file, "--place", "vault B", "--owner", "bob")
    made = story.keyvault("backups", "make", *words, person="bob")
    found = story.keyvault("backups", "verify", file, person="bob")
    note(f"{found['keys']} keys are in it; {found['left_out']} are not, and it names them")
    return file, str(made["id"])


def _restored(story: Story, how: str, backup: str, file: str) -> dict[str, int]:
    asked = story.keyvault("backups", how, backup, "--reason", f"to {how}", person="alice")
    one = carry_out(story, asked)
    for person in HOLDERS[:2]:
        own = ("--share-key", _share_key(story, person), "--yes")
        words = ("shares", "enter", one, *own)
        story.keyvault(*words, person=person, signers=(f"{person} share",))
    done = story.keyvault("backups", "load", one, "--file", file, person="alice")
    report = done["report"]
    if not report["ok"] or report["failed"]:
        raise StoryError(f"it was not whole: {report}")
    names = ("restored", "compared", "opened", "undone")
    counts = {name: int(report[name]) for name in names}
    note(", ".join(f"{name} {count}" for name, count in counts.items()))
    return counts


def _used(story: Story, key: str) -> None:
    """Sign on the second token alone, and check it against the key that the register holds."""
    vault = bootstrap.build(Settings.load(Path(story.summary["config"])))
    try:
        if vault.spare is None:
            raise StoryError("there is no second token")
        digest = sha256(b"after the fire").digest()
        raw = vault.spare.sign(UUID(key).bytes, Mechanism.ECDSA, digest)
        with vault.database.reading() as work:
            public = work.keys.get(UUID(key)).public_key
    finally:
        vault.close()
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    if not signatures.verify(public, signature, b"after the fire"):
        raise StoryError("the restored key is another one")
    note("the second token signs, and the public key of the register verifies it")


def _share_key(story: Story, person: str) -> str:
    return str(story.folder / "people" / f"{person}.share.key")
