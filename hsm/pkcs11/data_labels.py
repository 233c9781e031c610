"""Small data where a module stores no data objects: in the labels of keys that can do nothing.

There are two such keys for each label, written in turn, and a module that finds the CKA_ID again
replaces the older one in one step. Labels lie in clear in the token's file. That is enough for
an anchor, which is there to be as old as its token and no secret.
"""

from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any

from pkcs11 import Attribute, KeyType, ObjectClass

from hsm.errors import IntegrityError
from hsm.pkcs11 import objects
from hsm.pkcs11.templates import SECRET_FLAGS, Template
from hsm.types import ObjectRecord

PREFIX = b"keyvault data "  # of the CKA_ID, which has more than a key's 16 bytes
KEPT = 2
_NO_KEY = b"this is no key"


def put(session: Any, label: str, value: bytes) -> None:
    """Write over the older of the two."""
    kept = _newest_first(session, label)
    number = kept[0][0] + 1 if kept else 1
    wanted = _template(label, number, value)
    made = session.create_object(wanted | {Attribute.VALUE: _NO_KEY})
    have = made.get_attributes(list(wanted))
    if any(have.get(name) != wanted[name] for name in wanted):
        made.destroy()
        raise IntegrityError("the device stored a label that differs from what was written")


def get(session: Any, label: str) -> list[bytes]:
    """The values under this label, the newest first."""
    return [value for _, value in _newest_first(session, label)]


def shown(record: ObjectRecord) -> ObjectRecord:
    """Call what was written here data, and no key; everything else stays as it is."""
    idle = not any(record.attributes.get(flag.name) for flag in SECRET_FLAGS)
    if not idle or record.object_class != "SECRET_KEY" or not record.key_id.startswith(PREFIX):
        return record
    return replace(record, object_class="DATA", key_id=b"", key_type="")


def _template(label: str, number: int, value: bytes) -> Template:
    return {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.MODIFIABLE: False,
        Attribute.ID: _place(label, number),
        Attribute.LABEL: f"{number} {b64encode(value).decode()}",
        **dict.fromkeys(SECRET_FLAGS, False),
    }


def _place(label: str, number: int) -> bytes:
    return PREFIX + sha256(label.encode()).digest()[:16] + bytes([number % KEPT])


def _newest_first(session: Any, label: str) -> list[tuple[int, bytes]]:
    places = [{Attribute.ID: _place(label, number)} for number in range(KEPT)]
    found = [one for place in places for one in objects.all_with(session, place)]
    return sorted((_read(one[Attribute.LABEL]) for one in found), reverse=True)


def _read(text: str) -> tuple[int, bytes]:
    number, _, value = text.partition(" ")
    try:
        return int(number), b64decode(value, validate=True)
    except ValueError as error:
        raise IntegrityError("the device gave back a label that nobody wrote here") from error
