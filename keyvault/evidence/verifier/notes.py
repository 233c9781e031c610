"""Signed notes and checkpoints (c2sp.org/signed-note, /tlog-checkpoint)."""

from __future__ import annotations

from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.words import (
    ED25519,
    HASH_SIZE,
    lines_of,
    need,
    sha256_hex,
    unbase64,
)

ECDSA = 2  # signature type of c2sp.org/signed-note; 1 is Ed25519


def log_key(vkey: str, kinds: tuple[int, ...] = (1, ECDSA)) -> tuple[str, bytes, bytes]:
    """Read a verifier key: its name, key id and SubjectPublicKeyInfo."""
    name, key_id, data = vkey.split("+", 2)
    kind, public = unbase64(data)[0], unbase64(data)[1:]
    need(kind in kinds, f"{vkey} is not a key of type {' or '.join(map(str, kinds))}")
    hashed = public if kind == ECDSA else name.encode() + b"\n" + bytes([kind]) + public
    need(sha256_hex(hashed)[:8] == key_id, f"the key id of {vkey} is not the key's")
    return name, bytes.fromhex(key_id), public if kind == ECDSA else ED25519 + public


def read_note(note: bytes, vkeys: list[str], report: Report) -> tuple[str, int, bytes, int]:
    """Read a checkpoint: origin, size, root, and how many of these keys signed it."""
    text, _, block = note.decode().rpartition("\n\n")
    origin, size, root = text.split("\n")
    need(str(int(size)) == size and len(unbase64(root)) == HASH_SIZE, "is no checkpoint")
    keys = {(name, key_id): key for name, key_id, key in map(log_key, vkeys)}
    signers = 0
    for line in lines_of(block.encode()):
        dash, name, data = line.decode().split(" ")
        need(dash == "\u2014", "a signature line does not begin with a dash")
        key = keys.get((name, unbase64(data)[:4]))
        if key is not None:
            what = f"the signature of log key {name} is not valid"
            report.signed(what, key, unbase64(data)[4:], f"{text}\n".encode())
            signers += 1
    return origin, int(size), unbase64(root), signers
