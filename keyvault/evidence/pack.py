"""The pack of one scope: its events alone, each with its own proof, and nothing of any other.

Where a bundle shows every header of its range, a pack shows none but those of its scope; a sealed
head of the scope says how many there are, so that none can be left out.
"""

import zipfile
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import IO

from keyvault.domain.canonical import Document, canonical
from keyvault.domain.heads import StreamHead
from keyvault.domain.scopes import Scope
from keyvault.evidence.built import verifier
from keyvault.evidence.bundle import Sign, ZipWriter
from keyvault.evidence.lone import Lone

MEDIA_TYPE = "application/vnd.keyvault.scope-pack+zip"


@dataclass(frozen=True, slots=True)
class PackContents:
    """What goes into a pack. `events` are all of the scope up to `size`, in order, read once.

    `sealed` is the event that sealed the heads, `head` that of the scope, at place `at` of their
    tree, with its `path`. `people` are those who acted on the scope, with the keys they used.
    """

    origin: str
    genesis: str
    scope: Scope
    checkpoint: bytes
    size: int
    events: Iterable[Lone]
    sealed: Lone
    head: StreamHead
    at: int
    path: Sequence[bytes]
    people: Mapping[str, Document]
    services: Document
    requester: str
    created_at: str
    software: str
    policy: bytes = b""


def write_pack(contents: PackContents, out: IO[bytes], sign_manifest: Sign) -> bytes:
    """Write the ZIP to `out`, which has to seek, and return the manifest's bytes."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        bundle = ZipWriter(archive)
        here = resources.files("keyvault.evidence")
        bundle.add("README.txt", (here / "PACK.txt").read_bytes())
        bundle.add("verify.py", verifier())
        bundle.add("events.ndjson", (lone.line() for lone in contents.events))
        shown: Document = {
            "at": contents.at,
            "path": [b64encode(node).decode() for node in contents.path],
        }
        head = canonical({**contents.head.document(), **shown}) + b"\n"
        bundle.add("heads.ndjson", contents.sealed.line() + head)
        keys = contents.services["log_keys"]
        bundle.add("checkpoints/keys", "".join(f"{key}\n" for key in keys).encode())
        bundle.add("checkpoints/newest.note", contents.checkpoint)
        if contents.policy:
            bundle.add("checkpoints/policy", contents.policy)
        manifest = canonical({**_about(contents), "files": dict(bundle.files)})
        bundle.add("manifest.json", manifest)
        bundle.add("manifest.sig", sign_manifest(manifest))
    return manifest


def _about(contents: PackContents) -> Document:
    return {
        "v": 1,
        "type": MEDIA_TYPE,
        "origin": contents.origin,
        "genesis": contents.genesis,
        "scope": str(contents.scope),
        "size": contents.size,
        "people": dict(contents.people),
        "services": contents.services,
        "requester": contents.requester,
        "created_at": contents.created_at,
        "software": contents.software,
    }
