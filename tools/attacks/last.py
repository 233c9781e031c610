"""What cannot be undone, and so comes last: lies that are written down."""

import hashlib
import json
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import canonical
from keyvault.domain.scopes import Scope
from keyvault.domain.witnessing import AddCheckpoint
from keyvault.store.recorder_client import Record
from tools import narrated
from tools.attacker import (
    SucceededError,
)
from tools.attacks.common import REFUSED, SCOPE, wrong

if TYPE_CHECKING:
    from tools.drill import Drill


def false_evidence(drill: "Drill") -> None:
    """The evidence is edited, and its manifest signed anew by the gate, which the api may ask."""
    story = drill.story
    honest, forged = story.folder / "evidence.zip", story.folder / "evidence-forged.zip"
    with zipfile.ZipFile(honest) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    files["events.ndjson"] = files["events.ndjson"].replace(b"KEY.SUSPENDED", b"KEY.SUSPECTED")
    manifest = json.loads(files["manifest.json"])
    data = files["events.ndjson"]
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest["files"]["events.ndjson"] = entry
    files["manifest.json"] = canonical(manifest)
    files["manifest.sig"] = drill.gate.call("sign_manifest", files["manifest.json"])
    packed(forged, files)
    drill.attempt(
        "T7", "edited evidence, with a new signature of the gate over its manifest",
        partial(wrong, drill, forged), instead="none: the verifier names the event",
    )  # fmt: skip


def packed(place: Path, files: dict[str, bytes]) -> None:
    """Write a bundle to the letter as the service does, so that its form gives nothing away."""
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o100600 << 16
            with archive.open(entry, "w") as file:
                file.write(content)


def false_event(drill: "Drill") -> None:
    """The recorder is given an event of something that never happened."""
    key = drill.keys["kek"]
    told = {"request": drill.on_key(key, "destructions")["document"], "approvals": []}
    event = AuditEvent(
        *(EventType.KEY_DESTROYED, Outcome.OK, UUID(told["request"]["id"]), f"key:{key}"),
        *("person:bob", {**told, "key": key, "state": "destroyed", "version": 3}),
        role="key-custodian",
        scope=Scope(**SCOPE),
    )
    drill.recorder.call("append", *Record(event, {}, None).pack())

    def attack() -> str:
        return wrong(drill, narrated.export(drill.story, "dora", "evidence-spoiled.zip"))

    drill.attempt(
        "T7", "the recorder is told of a destruction that nobody approved",
        attack, instead="the event itself, which the verifier refuses",
    )  # fmt: skip


def second_history(drill: "Drill") -> None:
    """The log's gate signs a longer log that never was; it cannot know, but the witness does."""
    note = drill.log_gate.call("seal", drill.size() + 1_000, bytes(32))
    address = f"{drill.story.summary['witness']}/add-checkpoint"

    def attack() -> str:
        answer, seen = None, 0
        while answer is None or answer.status_code == httpx.codes.CONFLICT:
            body = AddCheckpoint(seen, (), note.encode()).to_bytes()
            answer = httpx.post(address, content=body, trust_env=False)
            seen = int(answer.text) if answer.text.strip().isdecimal() else seen
        if answer.is_success:
            raise SucceededError("the witness cosigned it")
        kept = len(list((drill.story.folder / "witness" / "refused").glob("*")))
        return f"the witness answers {answer.status_code} and keeps {kept} as evidence"

    drill.attempt(
        "T4", "a second history, signed by the log's gate, is brought to the witness",
        attack, REFUSED, '"seal"',
    )  # fmt: skip
