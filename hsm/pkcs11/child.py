"""A process of its own for one question to a module: one JSON object in, one out."""

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pkcs11.exceptions import PKCS11Error

from hsm.errors import HsmError, MechanismUnsupportedError, TokenNotFoundError, told
from hsm.pkcs11 import credential, probe
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.library import CKU_SO, Library, is_initialised
from hsm.uri import parse

Answer = dict[str, Any]
LABEL_SIZE = 32


def list_tokens(request: Answer) -> Answer:
    library = Library.acquire(request["path"], request["init_args"])
    return {"tokens": [_described(token) for token in library.tokens()]}


def initialise(request: Answer) -> Answer:
    library = Library.acquire(request["path"])
    if library.functions is None:
        raise MechanismUnsupportedError(
            "no token can be initialised through this library",
            next_step="Use the library of the module itself.",
        )
    token = _free(library, request["slot"])
    slot, so_pin = token.slot, base64.b64decode(request["so_pin"])
    label = request["label"].encode()
    if not 0 < len(label) <= LABEL_SIZE:
        raise TokenNotFoundError(f"a token label has 1 to {LABEL_SIZE} bytes of UTF-8")
    library.functions.init_token(slot.slot_id, so_pin, label.ljust(LABEL_SIZE))
    session = slot.get_token().open(rw=True)
    library.functions.login(session.handle, CKU_SO, so_pin)
    library.functions.init_pin(session.handle, base64.b64decode(request["user_pin"]))
    session.close()
    return _described(slot.get_token())


def describe(request: Answer) -> Answer:
    uri = parse(request["uri"])
    library = Library.acquire(request["path"], uri.init_args)
    return asdict(probe.described(uri, request["path"], library, library.token(uri)))


def _free(library: Library, slot: int | None) -> Any:
    for token in library.tokens():
        wanted = not is_initialised(token) if slot is None else token.slot.slot_id == slot
        if wanted:
            return token
    raise TokenNotFoundError(
        "the module has no token that is not initialised" if slot is None else "no such slot",
        next_step="Name the slot whose token may be wiped; listing the tokens shows them.",
    )


def _described(token: Any) -> Answer:
    return {
        "slot_id": token.slot.slot_id,
        "label": token.label,
        "serial": token.serial.decode(errors="replace"),
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "initialised": is_initialised(token),
    }


DO: dict[str, Callable[[Answer], Answer]] = {
    "list": list_tokens,
    "initialise": initialise,
    "probe": describe,
    **credential.DO,
}


def answered(request: Answer) -> Answer:
    try:
        return DO[request["do"]](request)
    except PKCS11Error as error:
        return told(of_exception(error))
    except HsmError as error:
        return told(error)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answered(json.load(sys.stdin))))
