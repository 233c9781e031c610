"""A backup's file, checked line by line without holding it: what is in it, and who signed."""

from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

from keyvault import signatures
from keyvault.domain.backups import BACKUP_CONTEXT
from keyvault.domain.canonical import Document, canonical, parse
from keyvault.domain.errors import BackupInvalidError, VaultError

LINE = 65_536  # bytes at most
SHOWN = 1_000  # keys that are not in it, by name; the count says how many there are
AGAIN = "use another copy, and find out what happened to this one"


def verified(path: Path, evidence: bytes) -> Document:
    """Raises `BackupInvalidError` unless every line is there and the evidence key signed them."""
    try:
        return _verified(path, evidence)
    except (VaultError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BackupInvalidError):
            raise
        raise _bad("it is damaged") from error


def _verified(path: Path, evidence: bytes) -> Document:
    lines, whole = sha256(), sha256()
    kinds: dict[str, int] = {}
    head: Document = {}
    end: Document = {}
    missing: list[Document] = []
    with path.open("rb") as file:
        while line := file.readline(LINE + 1):
            whole.update(line)
            document = parse(line.removesuffix(b"\n"), max_size=LINE)
            kind = document["kind"]
            if kind == "signature":
                break
            head, end = head or document, document
            if kind != "end":
                lines.update(line)
            if kind == "left-out" and len(missing) < SHOWN:
                missing.append({name: document[name] for name in ("key", "label", "reason")})
            kinds[kind] = kinds.get(kind, 0) + 1
        else:
            raise _bad("it is cut off")
        if file.read(1):
            raise _bad("there is more behind its signature")
    _check(end, document, lines.hexdigest(), kinds, evidence)
    return {**_told(head, end), "sha256": whole.hexdigest(), "not_in_it": missing}


def _told(head: Document, end: Document) -> Document:
    names = ("backup", "scope", "taken_at", "taken_by", "backup_key", "check_value")
    counts = {name: end[name] for name in ("keys", "left_out")}
    return {**{name: head[name] for name in names}, **counts}


def _check(
    end: Document, signature: Document, lines: str, kinds: dict[str, Any], evidence: bytes
) -> None:
    if end.get("kind") != "end" or end["lines_sha256"] != lines:
        raise _bad("a line was changed, added or taken away")
    if end["keys"] != kinds.get("key", 0) + kinds.get("wrapped", 0):
        raise _bad("its last line counts other keys than there are")
    signed = b64decode(signature["signature"], validate=True)
    if not signatures.verify(evidence, signed, BACKUP_CONTEXT + canonical(end)):
        raise _bad("it is not signed by the evidence key of the genesis")


def _bad(why: str) -> BackupInvalidError:
    return BackupInvalidError(f"this backup does not hold: {why}", next_step=AGAIN)
