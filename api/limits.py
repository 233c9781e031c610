"""What a body may look like, judged before anything parses it."""

import re

from keyvault.domain.errors import InvalidInputError

DEPTH = 16  # of nested JSON
OPENERS = 4_096  # brackets in one body
# A string that never ends matches to the end of the body, so the scan stays linear.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def check_shape(body: bytes) -> None:
    """Refuse deep or bristling JSON before anything parses it. Raises `InvalidInputError`.

    Depth cannot exceed the number of opening brackets, so nearly every body ends at the count.
    """
    if b"\0" in body or not _is_utf_8(body):  # JSON in UTF-16 is full of NULs
        raise InvalidInputError("a body is JSON in UTF-8")
    openers = body.count(b"[") + body.count(b"{")
    if openers <= DEPTH:
        return
    if openers > OPENERS:
        raise InvalidInputError(f"a body has at most {OPENERS} objects and lists")
    depth = 0
    for token in _TOKENS.finditer(body):
        byte = body[token.start()]
        depth += (byte in b"[{") - (byte in b"]}")
        if depth > DEPTH:
            raise InvalidInputError(f"a body is nested at most {DEPTH} deep")


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
