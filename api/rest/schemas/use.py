"""Uses of keys on the wire: the hot path's bodies."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from api.rest.schemas.common import (
    ABSENT,
    DATA_LIMIT,
    WHOLE,
    Data,
    EventRef,
    Item,
    Signature,
    Wire,
    base64_schema,
)
from hsm.types import Mechanism

BATCH_LIMIT = 1_000
OF_DIGESTS = ["ECDSA", "RSA-PKCS1-SHA256", "RSA-PSS-SHA256"]
SIGNING = Literal["ECDSA", "RSA-PKCS1-SHA256", "RSA-PSS-SHA256", "EdDSA"]


def _one_of(**mechanisms: list[str]) -> ConfigDict:
    """Exactly one of these fields, each with the mechanisms that go with it."""
    choices: list[Any] = [
        {
            "required": [name],
            "not": {"anyOf": [{"required": [other]} for other in mechanisms if other != name]},
            "properties": {"mechanism": {"enum": names}},
        }
        for name, names in mechanisms.items()
    ]
    return ConfigDict(json_schema_extra={"oneOf": choices})


def _either(one: str, many: str) -> ConfigDict:
    """Exactly one of two fields."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [one]}, {"required": [many]}]})


def _mechanism(name: str | None) -> Mechanism | None:
    return None if name is None else Mechanism(name)


def _check_mechanism(name: str | None, *, whole: bool) -> None:
    if name is not None and whole != (name == "EdDSA"):
        raise ValueError("EdDSA takes messages, every other mechanism takes digests")


class SignIn(Wire):
    """Exactly one of the four. EdDSA takes whole messages, all other mechanisms digests."""

    model_config = _one_of(
        digest=OF_DIGESTS, digests=OF_DIGESTS, message=["EdDSA"], messages=["EdDSA"]
    )
    digest: Item = ABSENT
    digests: list[Item] = Field(ABSENT, min_length=1, max_length=BATCH_LIMIT)
    message: Data = ABSENT
    messages: list[Data] = Field(ABSENT, min_length=1, max_length=BATCH_LIMIT)
    mechanism: SIGNING = ABSENT

    @model_validator(mode="after")
    def _exactly_one(self) -> "SignIn":
        given = (self.digest, self.digests, self.message, self.messages)
        if sum(value is not None for value in given) != 1:
            raise ValueError("give exactly one of digest, digests, message, messages")
        whole = self.message is not None or self.messages is not None
        _check_mechanism(self.mechanism, whole=whole)
        return self

    @property
    def data(self) -> list[bytes]:
        for many in (self.digests, self.messages):
            if many is not None:
                return many
        return [self.message if self.digest is None else self.digest]

    @property
    def chosen(self) -> Mechanism | None:
        whole = self.message is not None or self.messages is not None
        return _mechanism("EdDSA" if whole else self.mechanism)


class SignOut(Wire):
    """Signatures in the order of what was sent. ECDSA is raw r || s."""

    signatures: list[Annotated[str, base64_schema(1, 512)]]
    event: EventRef


class VerifyIn(Wire):
    """Exactly one of `digest` and (for EdDSA) `message`."""

    model_config = _one_of(digest=OF_DIGESTS, message=["EdDSA"])
    digest: Item = ABSENT
    message: Data = ABSENT
    signature: Signature
    mechanism: SIGNING = ABSENT

    @model_validator(mode="after")
    def _exactly_one(self) -> "VerifyIn":
        if (self.digest is None) == (self.message is None):
            raise ValueError("give exactly one of digest and message")
        _check_mechanism(self.mechanism, whole=self.message is not None)
        return self

    @property
    def data(self) -> bytes:
        data: bytes = self.message if self.digest is None else self.digest
        return data

    @property
    def chosen(self) -> Mechanism | None:
        return _mechanism("EdDSA" if self.message is not None else self.mechanism)


class VerifyOut(Wire):
    valid: bool


class EncryptIn(Wire):
    """Exactly one of `plaintext` and `plaintexts`; `aad` goes with each of them."""

    model_config = _either("plaintext", "plaintexts")
    plaintext: Data = ABSENT
    plaintexts: list[Data] = Field(ABSENT, min_length=1, max_length=BATCH_LIMIT)
    aad: Data = b""

    @model_validator(mode="after")
    def _exactly_one(self) -> "EncryptIn":
        if (self.plaintext is None) == (self.plaintexts is None):
            raise ValueError("give exactly one of plaintext and plaintexts")
        return self

    @property
    def texts(self) -> list[bytes]:
        return self.plaintexts or [self.plaintext]


Ciphertext = Annotated[str, base64_schema(0, DATA_LIMIT + 64)]


class EncryptOut(Wire):
    """AES-GCM: 12-byte IV, then the ciphertext, then the 16-byte tag. Many in their order."""

    model_config = _either("ciphertext", "ciphertexts")
    ciphertext: Ciphertext = ABSENT
    ciphertexts: list[Ciphertext] = ABSENT
    event: EventRef


class DecryptIn(Wire):
    ciphertext: Item
    aad: Data = b""


class DecryptOut(Wire):
    plaintext: Annotated[str, base64_schema(0, DATA_LIMIT + 64)]
    event: EventRef


class MacIn(Wire):
    """Exactly one of `data` and `items`. `iv` (12 bytes) only for keys for GMAC, with `data`."""

    model_config = _either("data", "items")
    data: Data = ABSENT
    items: list[Data] = Field(ABSENT, min_length=1, max_length=BATCH_LIMIT)
    iv: Data = b""

    @model_validator(mode="after")
    def _exactly_one(self) -> "MacIn":
        if (self.data is None) == (self.items is None):
            raise ValueError("give exactly one of data and items")
        if self.iv and self.items is not None:
            raise ValueError("an IV serves one message, as data")
        return self

    @property
    def messages(self) -> list[bytes]:
        return self.items or [self.data]


Mac = Annotated[str, base64_schema(1, 64)]


class MacOut(Wire):
    model_config = _either("mac", "macs")
    mac: Mac = ABSENT
    macs: list[Mac] = ABSENT
    event: EventRef


class RandomIn(Wire):
    size: Annotated[int, Field(ge=1, le=4096), WHOLE]


class RandomOut(Wire):
    bytes: Annotated[str, base64_schema(1, 4096)]
