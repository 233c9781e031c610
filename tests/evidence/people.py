"""The people of a small world, their keys, and the rules that they live under."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.types import VerifyPolicy
from keyvault.domain import commands as c
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Credential,
    Duty,
    Grant,
    Role,
    Screening,
    Vetting,
)
from keyvault.domain.rules import GroupBy, Rule
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_text, text_of

SCOPE = Scope("dcc-party", "supplier", "u-1")
START = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)
DAY = 86_400  # seconds
KEY_ACTS = tuple(k.name for k in c.KEY_COMMANDS)
APPROVER = (Role.KEY_APPROVER,)
KEYS = Rule("keys", KEY_ACTS, ("*",), APPROVER, 2, DAY)
TOP = Rule("top", KEY_ACTS, ("critical",), APPROVER, 3, DAY)
CAREFUL = replace(
    KEYS,
    id="careful",
    key_classes=("careful",),
    wait=600,
    group_by=GroupBy.SITE,
    groups=2,
    assurance=Assurance.CARD,
)
GLASS = Rule("glass", KEY_ACTS, ("standard",), APPROVER, 3, 3_600, break_glass=True)
AUTHORITY = Rule(
    "authority",
    tuple(k.name for k in (*c.PEOPLE_COMMANDS, *c.RULE_COMMANDS)),
    ("*",),
    (Role.KEY_APPROVER, Role.REGISTRAR),
    2,
    DAY,
)
PROTECTION = Rule(
    "protection", tuple(k.name for k in c.PROTECTIVE_COMMANDS), ("*",), APPROVER, 1, DAY
)
RULES = (KEYS, TOP, CAREFUL, GLASS, AUTHORITY, PROTECTION)
CLASSES = (
    KeyClass("standard", Residence.RESIDENT, VerifyPolicy.SAMPLED),
    KeyClass("critical", Residence.RESIDENT, VerifyPolicy.ALWAYS),
    KeyClass("careful", Residence.RESIDENT, VerifyPolicy.ALWAYS),
)
OFFICER = (Role.KEY_OWNER, Role.KEY_APPROVER, Role.REGISTRAR)
DUTY = Duty("keeping-keys", 1, "5a" * 32, OFFICER, day_text(START))


class P256:
    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.spki = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def compressed(self):
        """The same key in another encoding."""
        points = serialization.PublicFormat.CompressedPoint
        point = self._key.public_key().public_bytes(serialization.Encoding.X962, points)
        return bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point

    def sign(self, message):
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


PEOPLE = {name: P256() for name in ("alice", "bob", "carol", "dan", "erin", "fay")}


def screening(reviewed=START, days=366):
    dates = (day_text(reviewed), day_text(reviewed + timedelta(days=days)))
    return Screening("BS 7858:2019", Vetting.BASELINE, "HR-17", *dates)


def grants(*roles, scope=EVERYWHERE, until=START + timedelta(days=1_000)):
    return tuple(Grant(role, str(scope), text_of(until)) for role in roles)


def joiner(name, *roles, **changes):
    """What registers a person. Alice keeps her key in a file, the others on a card."""
    own = Assurance.SOFTWARE if name == "alice" else Assurance.CARD
    given = {
        "person": name,
        "full_name": name.title(),
        "organisation": "Example Energy",
        "site": "york" if name in ("carol", "fay") else "leeds",
        "manager": None,
        "credential": Credential(PEOPLE[name].spki, own),
        "grants": grants(*(roles or OFFICER)),
        "screening": screening(),
    }
    return c.RegisterPerson(**{**given, **changes})
