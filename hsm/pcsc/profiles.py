"""Models of cards as data: how each is recognised, what it arrives with, and what it can do.

SP 800-73-4 leaves to the maker how a management key (9B) is changed, what a card's serial number
is and how large an object may be. What a model needs of that is a table in a TOML file; nothing
else in the house knows a maker. A card that fits no table is not issued.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hsm.errors import CardForeignError, DataInvalidError
from hsm.pcsc.piv import PivAlgorithm
from hsm.pcsc.piv_issue import KEY_SIZE
from hsm.pcsc.scp03 import KEY_SIZES, StaticKeys

OWN = Path(__file__).with_name("profiles.toml")
FILE_LIMIT = 262_144  # bytes
YUBICO, NONE = "yubico", "none"
INITIAL = 0xFF  # version of a key set that gives way to the first that is put
VERSIONS = range(1, 256)
ATR_PATTERN = re.compile(r"(?:[0-9a-f.]{2}){2,33}")

# Management keys that anybody knows: what a card was delivered with may be none of them.
PUBLISHED_KEYS = (
    bytes.fromhex("010203040506070801020304050607080102030405060708"),
    bytes.fromhex("0102030405060708") * 2,
    bytes.fromhex("0102030405060708") * 4,
    *(bytes(size) for size in (16, 24, 32)),
    *(bytes(range(size)) for size in (16, 24, 32)),
)


@dataclass(frozen=True, slots=True)
class ChannelProfile:
    """The secure channel (SCP03) of a model, and what its security domain begins with.

    `size` are the bytes of each of our own keys. `lengths`: PUT KEY carries each key's length, as
    Amendment D has it; some makers leave it out.
    """

    factory: StaticKeys
    factory_version: int = INITIAL
    size: int = 16
    lengths: bool = True


@dataclass(frozen=True, slots=True)
class CardProfile:
    """One model.

    `atr` are hexadecimal patterns, a dot for any digit; `label` must stand in the answer to
    SELECT where it is given. `management` are the ciphers that 9B may arrive with, the likeliest
    first; `management_change` names the maker's command that replaces it. With "none" the card
    keeps the key that its supplier put in, which is `factory_management_key`, or, where that is
    empty, our own for this card, diversified by the supplier under a master that we gave.
    `serial` names where a serial number comes from. `secure_channel` is a table: `factory` are
    the keys for ENC, MAC and DEK, the rest as in `ChannelProfile`.
    Sizes are in bytes.
    """

    name: str
    title: str
    atr: tuple[str, ...]
    management: tuple[PivAlgorithm, ...]
    factory_pin: bytes
    factory_puk: bytes
    label: str = ""
    factory_management_key: bytes = b""
    management_change: str = NONE
    own_management: PivAlgorithm | None = None
    serial: str = NONE
    attests: bool = False
    extended: bool = False
    pin_tries: int = 3
    puk_tries: int = 3
    object_limit: int = 3052
    security_object: bool = True  # it has the container (5FC106), for what its issuer signs
    algorithms: tuple[PivAlgorithm, ...] = (PivAlgorithm.ECC_P256,)
    certificate: str = ""  # number of its FIPS 140 certificate
    secure_channel: ChannelProfile | None = None

    def __repr__(self) -> str:
        return f"CardProfile({self.name!r})"

    @property
    def own_algorithm(self) -> PivAlgorithm:
        """The cipher of the management key once it is ours."""
        return self.own_management or self.management[0]

    def fits(self, atr: bytes, label: str) -> bool:
        known = any(re.fullmatch(pattern, atr.hex()) for pattern in self.atr)
        return known and self.label in label


def recognise(profiles: Sequence[CardProfile], atr: bytes, label: str) -> CardProfile:
    """The first profile that fits. Raises `CardForeignError` with what was found."""
    for profile in profiles:
        if profile.fits(atr, label):
            return profile
    raise CardForeignError(
        f"no profile fits this card: ATR {atr.hex().upper()}, application {label[:64]!r}",
        next_step="Issue a model that is known, or have a profile of this one written and tried.",
    )


def load(path: Path | None = None) -> tuple[CardProfile, ...]:
    """Read the operator's profiles, if any, and behind them the house's own.

    Raises `DataInvalidError` with the profile and the field that is wrong.
    """
    files = [OWN] if path is None else [path, OWN]
    found = [profile for file in files for profile in _read(file)]
    return tuple(found)


def _read(file: Path) -> Iterable[CardProfile]:
    try:
        with file.open("rb") as opened:
            text = opened.read(FILE_LIMIT + 1)
        if len(text) > FILE_LIMIT:
            raise DataInvalidError(f"{file.name} is larger than {FILE_LIMIT} bytes")
        tables = tomllib.loads(text.decode()).get("card", [])
        return [_profile(table) for table in tables]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataInvalidError(
            f"{file.name} does not describe cards: {type(error).__name__} {error}",
            next_step="Compare it with the profiles that come with the program.",
        ) from error


def _profile(table: dict[str, Any]) -> CardProfile:
    unknown = set(table) - {field.name for field in fields(CardProfile)}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    profile = CardProfile(**{name: _value(name, value) for name, value in table.items()})
    _check(profile)
    return profile


def _value(name: str, value: Any) -> Any:
    if name == "factory_management_key":
        return bytes.fromhex(value)
    if name in ("factory_pin", "factory_puk"):
        return str(value).encode()
    if name == "own_management":
        return PivAlgorithm[value]
    if name == "secure_channel":
        keys = StaticKeys(*map(bytes.fromhex, value["factory"]))
        return ChannelProfile(**{**value, "factory": keys})
    if name in ("algorithms", "management"):
        return tuple(PivAlgorithm[each] for each in value)
    return tuple(each.lower() for each in value) if name == "atr" else value


def _check(profile: CardProfile) -> None:
    """What a slip of the pen would make dangerous. Raises `ValueError`."""
    key = profile.factory_management_key
    sizes = {KEY_SIZE.get(each, 0) for each in profile.management}
    wrong = [
        ("atr", not profile.atr or not all(map(ATR_PATTERN.fullmatch, profile.atr))),
        ("management", not profile.management or not sizes),
        ("own_management", profile.own_algorithm not in KEY_SIZE),
        ("factory_management_key", bool(key) and sizes != {len(key)}),
        ("management_change", profile.management_change not in (YUBICO, NONE)),
        ("serial", profile.serial not in (YUBICO, NONE)),
        ("own_management", profile.management_change == NONE and bool(profile.own_management)),
        ("factory_management_key", profile.management_change != NONE and not key),
        ("factory_management_key", profile.management_change == NONE and key in PUBLISHED_KEYS),
        ("pin_tries", not 3 <= profile.pin_tries <= 15),  # noqa: PLR2004  (a nibble on the wire)
        ("object_limit", profile.object_limit < 1_024),  # noqa: PLR2004  (a certificate's size)
    ]
    if channel := profile.secure_channel:
        wrong.append(("secure_channel size", channel.size not in KEY_SIZES))
        wrong.append(("secure_channel version", channel.factory_version not in VERSIONS))
    if names := [name for name, is_wrong in wrong if is_wrong]:
        raise ValueError(f"{profile.name}: {', '.join(names)}")
