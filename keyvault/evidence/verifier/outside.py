"""What the program reads beside the bundle: a policy, and what it remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keyvault.evidence.verifier.archive import MAX_PART
from keyvault.evidence.verifier.words import CannotCheck, need


def read_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_PART + 1)
    except OSError as error:
        raise CannotCheck(f"{path} cannot be read: {error.strerror}") from error
    need(len(data) <= MAX_PART, "is over 64 MiB")
    return data


def read_state(path: str | None) -> dict[str, dict[str, Any]]:
    if not path or not Path(path).exists():
        return {}
    try:
        return dict(json.loads(read_file(path)))
    except (TypeError, ValueError) as error:
        raise CannotCheck(f"{path} is not the memory of earlier checks") from error
