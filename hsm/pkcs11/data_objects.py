"""Small private data objects, such as an anchor of the log."""

from typing import Any

from pkcs11 import Attribute, ObjectClass

from hsm.errors import IntegrityError
from hsm.pkcs11 import objects
from hsm.pkcs11.templates import Template

KEPT = 2


def put(session: Any, label: str, value: bytes) -> None:
    """Write a new object first, then destroy the old ones but one, so that none is ever missing."""
    older = _newest_first(session, label)
    number = _number(older[0]) + 1 if older else 1
    wanted = _template(label) | {Attribute.APPLICATION: f"{number:016d}", Attribute.VALUE: value}
    made = session.create_object(wanted)
    have = made.get_attributes(list(wanted))
    if any(have.get(name) != wanted[name] for name in wanted):
        made.destroy()
        raise IntegrityError("the device stored a data object that differs from what was written")
    for old in older[KEPT - 1 :]:
        old.destroy()


def get(session: Any, label: str) -> list[bytes]:
    """The values under this label, the newest first."""
    return [bytes(found[Attribute.VALUE]) for found in _newest_first(session, label)]


def _template(label: str) -> Template:
    return {
        Attribute.CLASS: ObjectClass.DATA,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.MODIFIABLE: False,
        Attribute.LABEL: label,
    }


def _newest_first(session: Any, label: str) -> list[Any]:
    found = objects.all_with(session, {Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: label})
    return sorted(found, key=_number, reverse=True)


def _number(found: Any) -> int:
    """PKCS#11 knows no time of writing, so CKA_APPLICATION counts."""
    text = found[Attribute.APPLICATION]
    return int(text) if text.isdecimal() else 0
