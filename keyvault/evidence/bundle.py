"""The evidence bundle: one ZIP, the same bytes for the same contents, checked by `verify.py`."""

import base64
import hashlib
import json
import string
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from tempfile import TemporaryFile
from typing import IO

from keyvault.domain.audit import Leaf
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.chain import Record
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.tree import HASH_SIZE, ProofError, RangeProof, root_from_range
from keyvault.evidence.built import verifier
from keyvault.evidence.choosing import ALWAYS, FILTER_FIELDS, Filter, Sample, header_of, matches

MEDIA_TYPE = "application/vnd.keyvault.evidence+zip"
MANIFEST_CONTEXT = b"keyvault-manifest-v1\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a ZIP can write
_COMMITMENT = len(',"p":"') + 44 + len('"}')  # how a leaf ends: 44 characters of base64
_FLUSH = 1 << 16  # bytes

Sign = Callable[[bytes], bytes]
"""Manifest → ECDSA P-256 signature with SHA-256, in DER, by the evidence key.

What is signed is `MANIFEST_CONTEXT` and the manifest, so that the key signs nothing else.
"""


@dataclass(frozen=True, slots=True)
class Continuation:
    """An earlier checkpoint that the reader has, and the proof that the log continues it.

    `proof` is the range proof of no events: `range_proof(read, old.size, old.size, new.size)`.
    """

    note: bytes
    proof: RangeProof


@dataclass(frozen=True, slots=True)
class BundleContents:
    """What goes into a bundle. `leaves` are the events of `range`, in order, read once.

    A leaf without payload is one that was erased or purged: `erasures` are the events that say
    so, and those of holds, each with its proof, as `Lone.line` writes it; `heads` is the newest
    event that sealed the heads of streams. `views` is asked
    when all leaves have been read. Of what `filter` covers a `sample` may be disclosed, if there
    is one. `filter` maps header fields to the values to disclose; empty discloses everything.
    `dates` are RFC 3339; the range has to reach over them by more than a minute on either side, or
    to the end of the log, since times in the log may be out of order by that much. `authority` is
    the whole chain. `proofs` maps indexes to stand-alone proofs. `checkpoint` may have lines of
    witnesses, which `policy` names. `tsa` are files of time stamps, see docs/formats.md.
    """

    origin: str
    checkpoint: bytes
    range: RangeProof
    leaves: Iterable[Leaf]
    authority: Sequence[Record]
    requester: str
    created_at: str
    software: str
    filter: Filter = field(default_factory=dict)
    sample: Sample | None = None
    erasures: Sequence[bytes] = ()
    heads: Sequence[bytes] = ()
    views: Callable[[], Mapping[str, IO[bytes]]] = dict
    dates: tuple[str, str] | None = None
    previous: Continuation | None = None
    custody: Sequence[Document] = ()
    proofs: Mapping[int, bytes] = field(default_factory=dict)
    policy: bytes = b""
    tsa: Mapping[str, bytes] = field(default_factory=dict)


def write_bundle(contents: BundleContents, out: IO[bytes], sign_manifest: Sign) -> bytes:
    """Write the ZIP to `out`, which has to seek, and return the manifest's bytes.

    Nothing is signed unless the events lead to the checkpoint's root; what was written by then
    is worthless. Raises `ProofError` if they do not, `ValueError` if the filter names a field
    that is not in clear.
    """
    unknown = set(contents.filter) - FILTER_FIELDS
    if unknown:
        raise ValueError(f"events cannot be chosen by {', '.join(sorted(unknown))}")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        bundle = ZipWriter(archive)
        _write_texts(bundle, contents)
        counts = _write_events(bundle, contents)
        for name, view in contents.views().items():
            bundle.add(f"views/{name}", _read(view, _FLUSH))
        _write_proofs(bundle, contents)
        manifest = canonical({**_about(contents), "counts": counts, "files": dict(bundle.files)})
        bundle.add("manifest.json", manifest)
        bundle.add("manifest.sig", sign_manifest(manifest))
    return manifest


class ZipWriter:
    """An archive that keeps the hash and size of what is written to it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.files: dict[str, Document] = {}

    def add(self, name: str, content: bytes | Iterable[bytes]) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.create_system = 3
        entry.external_attr = 0o100600 << 16
        digest, size = hashlib.sha256(), 0
        with self._archive.open(entry, "w") as file:
            for part in (content,) if isinstance(content, bytes) else _chunks(content):
                file.write(part)
                digest.update(part)
                size += len(part)
        self.files[name] = {"sha256": digest.hexdigest(), "size": size}


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for part in parts:
        chunk += part
        if len(chunk) >= _FLUSH:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _write_texts(bundle: ZipWriter, contents: BundleContents) -> None:
    here = resources.files("keyvault.evidence")
    genesis = contents.authority[0].hash
    groups = [genesis[at : at + 4] for at in range(0, len(genesis), 4)]
    about = _about(contents) | {
        "start": contents.range.start,
        "last": contents.range.end - 1,
        "size": contents.range.size,
        "dates": " to ".join(contents.dates) if contents.dates else "not chosen by date",
        "filter": json.dumps(_filter(contents)) if contents.filter else "none: all is disclosed",
        "fingerprint": f"    {' '.join(groups[:8])}\n    {' '.join(groups[8:])}",
        "log_keys": "\n".join(f"    {key}" for key in _log_keys(contents)),
    }
    for name in ("README.txt", "VERIFY.txt"):
        template = string.Template((here / name).read_text(encoding="utf-8"))
        bundle.add(name, template.substitute(about).encode())
    bundle.add("verify.py", verifier())


def _write_events(bundle: ZipWriter, contents: BundleContents) -> Document:
    counts = {"disclosed": 0, "withheld": 0}
    with TemporaryFile() as hashes:  # 32 MB for a million events: memory stays the same

        def rows() -> Iterator[bytes]:
            for index, leaf in enumerate(contents.leaves, contents.range.start):
                shown = covered(index, leaf, contents.filter, contents.sample)
                counts["disclosed" if shown else "withheld"] += 1
                hashes.write(leaf.hash)
                yield _row(index, leaf, shown)

        bundle.add("events.ndjson", rows())
        bundle.add("leaf-hashes.bin", _read(hashes, _FLUSH))
        root = root_from_range(contents.range, _read(hashes, HASH_SIZE))
    checkpoint = Checkpoint.parse(Note.parse(contents.checkpoint).text)
    claimed = Checkpoint(contents.origin, contents.range.size, root)
    if checkpoint != claimed:
        raise ProofError("the stored events are not those that the checkpoint was signed for")
    return dict(counts)


def _read(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield a file from its beginning, so many bytes at a time."""
    file.seek(0)
    return iter(partial(file.read, size), b"")


def covered(index: int, leaf: Leaf, chosen: Filter, sample: Sample | None) -> bool:
    """Whether the bundle discloses an event."""
    if not (leaf.payload and (chosen or sample)):
        return bool(leaf.payload)
    header = header_of(leaf)
    fits = matches(header, chosen) and (sample is None or index in sample.picked)
    return header["ty"] in ALWAYS or fits


def _row(index: int, leaf: Leaf, shown: bool) -> bytes:
    """Cut the header out of the leaf rather than write it anew: these bytes were hashed."""
    header, commitment = leaf.data[5:-_COMMITMENT], leaf.data[-46:-2]
    if not shown:
        erased = b"" if leaf.payload else b'"e":1,'
        return b'{"c":"%b",%b"h":%b,"i":%d}\n' % (commitment, erased, header, index)
    salt = base64.b64encode(leaf.salt)
    return b'{"h":%b,"i":%d,"p":%b,"s":"%b"}\n' % (header, index, leaf.payload, salt)


def _write_proofs(bundle: ZipWriter, contents: BundleContents) -> None:
    bundle.add("range.proof", range_proof_text(contents.range))
    bundle.add("checkpoints/newest.note", contents.checkpoint)
    if contents.policy:
        bundle.add("checkpoints/policy", contents.policy)
    if contents.previous is not None:
        bundle.add("checkpoints/previous.note", contents.previous.note)
        bundle.add("checkpoints/consistency.proof", range_proof_text(contents.previous.proof))
    bundle.add("checkpoints/keys", "".join(f"{key}\n" for key in _log_keys(contents)).encode())
    records = (canonical(record.document()) + b"\n" for record in contents.authority)
    bundle.add("authority.ndjson", records)
    if contents.erasures:
        bundle.add("erasures.ndjson", contents.erasures)
    if contents.heads:
        bundle.add("heads.ndjson", contents.heads)
    bundle.add("custody.json", canonical({"v": 1, "entries": list(contents.custody)}))
    for name, content in sorted(contents.tsa.items()):
        bundle.add(f"tsa/{name}", content)
    for index, proof in sorted(contents.proofs.items()):
        bundle.add(f"proofs/{index}.tlog-proof", proof)


def range_proof_text(proof: RangeProof) -> bytes:
    """Write a range proof as lines: magic, start end size, then hashes in the order of leaves."""
    lines = ["keyvault-range-proof-v1", f"{proof.start} {proof.end} {proof.size}"]
    lines += [base64.b64encode(node).decode() for node in (*proof.left, *proof.right)]
    return "".join(f"{line}\n" for line in lines).encode()


def _about(contents: BundleContents) -> Document:
    dates, place = contents.dates, contents.range
    return {
        "v": 1,
        "type": MEDIA_TYPE,
        "origin": contents.origin,
        "genesis": contents.authority[0].hash,
        "range": {"start": place.start, "end": place.end, "size": place.size},
        "dates": None if dates is None else {"from": dates[0], "to": dates[1]},
        "filter": _filter(contents),
        "requester": contents.requester,
        "created_at": contents.created_at,
        "software": contents.software,
        "redaction": "erased" if contents.erasures else "none",
        **({} if contents.sample is None else {"sample": contents.sample.document()}),
    }


def _filter(contents: BundleContents) -> dict[str, list[str]]:
    return {name: sorted(values) for name, values in contents.filter.items()}


def _log_keys(contents: BundleContents) -> list[str]:
    return list(contents.authority[0].request["services"]["log_keys"])
