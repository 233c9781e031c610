"""From a URI to a device; and what can be asked of a module before anybody logs in."""

import base64
from typing import Any

from hsm.device import Device
from hsm.modules import ask, module_of
from hsm.pkcs11.session import Pkcs11Device
from hsm.types import Algorithm, DeviceInfo, Mechanism, VerifyPolicy
from hsm.uri import Pkcs11Uri, parse


def open_device(
    uri: str,
    pin: bytes | bytearray,
    *,
    verify: VerifyPolicy = VerifyPolicy.ALWAYS,
    cache_size: int = 4096,
) -> Device:
    """Load the module into this process, log in once and find out what works.

    `verify` is how often signatures are checked before release, unless a call says otherwise;
    `cache_size` how many wrapped keys are held at a time. A bytearray is read in place, so its
    owner can wipe it. Raises `UriError`, `TokenNotFoundError`, `PinIncorrectError`.
    """
    wanted = parse(uri)
    return Pkcs11Device(wanted, module_of(wanted), pin, verify=verify, cache_size=cache_size)


def probe(uri: str) -> DeviceInfo:
    """What the token claims of itself without a login, asked by a short-lived process."""
    wanted = parse(uri)
    answer = ask({"do": "probe", "uri": uri, "path": module_of(wanted)})
    return _info(answer)


def list_tokens(module_path: str, init_args: str = "") -> list[dict[str, Any]]:
    """Slots with a token: slot_id, label, serial, manufacturer, model, initialised."""
    request = {"do": "list", "path": module_path, "init_args": init_args}
    return list(ask(request)["tokens"])


def initialise_token(
    module_path: str,
    label: str,
    so_pin: bytes | bytearray,
    user_pin: bytes | bytearray,
    slot: int | None = None,
) -> str:
    """Initialise a token (C_InitToken, C_InitPIN) and return its URI.

    Without `slot` the first token that is not initialised is taken; one that is initialised is
    never taken by itself. Raises `TokenNotFoundError` if none is free, `PinIncorrectError`.
    """
    request = {
        "do": "initialise",
        "path": module_path,
        "label": label,
        "so_pin": base64.b64encode(so_pin).decode(),
        "user_pin": base64.b64encode(user_pin).decode(),
        "slot": slot,
    }
    token = ask(request)
    return str(Pkcs11Uri(token=token["label"], serial=token["serial"], module_path=module_path))


def _info(answer: dict[str, Any]) -> DeviceInfo:
    mechanisms = tuple(map(Mechanism, answer.pop("mechanisms")))
    algorithms = tuple(map(Algorithm, answer.pop("algorithms")))
    return DeviceInfo(mechanisms=mechanisms, algorithms=algorithms, **answer)
