"""Single events, each with the hashes that lead from it to the root of the signed checkpoint."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from keyvault.evidence.verifier.merkle import node_hash
from keyvault.evidence.verifier.words import dumps, loads, need, unbase64


def leaf_of(header: Any, commitment: str) -> bytes:
    return hashlib.sha256(b"\0" + dumps({"h": header, "p": commitment})).digest()


def read_lone(line: bytes, size: int, root: bytes) -> tuple[int, Any, Any, str]:
    """Read a row and its path; return index, header, payload (None if erased), commitment."""
    row = loads(line)
    index, header, payload = row["i"], row["h"], row.get("p")
    if payload is None:
        need(set(row) == {"c", "e", "h", "i", "path"} and row["e"] == 1, "row has other fields")
        commitment = row["c"]
    else:
        need(set(row) == {"h", "i", "p", "path", "s"}, "row has other fields")
        digest = hashlib.sha256(unbase64(row["s"]) + dumps(payload)).digest()
        commitment = base64.b64encode(digest).decode()
    leaf = leaf_of(header, commitment)
    path = [unbase64(text) for text in row["path"]]
    need(root_from(leaf, index, size, path) == root, f"event {index} is not in the log")
    return index, header, payload, commitment


def root_from(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.3.2."""
    need(0 <= index < size, "an event is not within the log")
    at, last, node = index, size - 1, leaf
    for item in path:
        need(last, "the path is too long")
        if at & 1 or at == last:
            node = node_hash(item, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, item)
        at, last = at >> 1, last >> 1
    need(not last, "the path is too short")
    return node
