"""A custodian's own terminal: components are typed blind, sealed here, opened and printed here."""

import re
from datetime import datetime

from cli.passphrases import Secrets
from hsm.types import Algorithm, CheckValues
from keyvault import components
from keyvault.domain.commands.handovers import CHECK_VALUE
from keyvault.domain.errors import ComponentInvalidError, InvalidInputError
from keyvault.paper import Paper


def typed(secrets: Secrets, what: str, algorithm: Algorithm, check: str | None) -> bytearray:
    """A component in hex, without echo: twice, or once and held against its check value.

    Raises `ComponentInvalidError`.
    """
    component = components.read(secrets.next(f"{what}, in hex"), algorithm)
    if check is None:
        again = components.read(secrets.next(f"{what}, once more"), algorithm)
        same = component == again
        components.wipe(again)
        why = "the two are not the same"
    else:
        same = fits(components.check_values(component), check)
        why = f"this is not the component of check value {check}"
    if not same:
        components.wipe(component)
        raise ComponentInvalidError(why, next_step="type it again; nothing of it was sent")
    return component


def fits(found: CheckValues, check: str) -> bool:
    """Whether these are the check values that were written down, as `cmac:…` or `ecb:…`."""
    if not re.fullmatch(CHECK_VALUE, check):
        raise InvalidInputError("a check value is written like cmac:1a2b3c or ecb:1a2b3c")
    style, _, value = check.partition(":")
    return bool(getattr(found, style) == value)


def styles(check: CheckValues) -> str:
    """Both check values, each with its style."""
    return f"CMAC {check.cmac}, ECB {check.ecb}"


def form(component: bytearray, facts: list[tuple[str, object]], at: datetime) -> bytes:
    """A page for the tamper-evident bag, as PDF: the component and what it belongs to."""
    paper = Paper("Component of a key", at)
    paper.facts(facts)
    paper.heading("Component", 2).text(components.written(component), fixed=True)
    check = components.check_values(component)
    paper.facts([("check value (CMAC)", check.cmac), ("check value (ECB)", check.ecb)])
    for label in ("number of the bag", "put into the bag by, on", "witnessed by"):
        paper.blank(label)
    return paper.pdf()
