"""What crosses the gate's wire: keys and specs as plain maps, bytes as bytes."""

from hsm.types import Algorithm, KeySpec, KeyUsage, MadeKey, ObjectRecord, WrappedKey
from keyvault.domain.approvals import Request
from keyvault.domain.canonical import Document
from keyvault.domain.commands import NewKey
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import KeyClass


def made_document(made: MadeKey) -> Document:
    return {
        "key_id": made.spec.key_id,
        "public_key": made.public_key,
        "check_value": made.check_value,
        "attributes": made.attributes,
        "wrapped": None if made.wrapped is None else wrapped_document(made.wrapped),
    }


def wrapped_document(wrapped: WrappedKey) -> Document:
    return {**_fields(wrapped), "spec": _fields(wrapped.spec)}


def wrapped_of(document: Document) -> WrappedKey:
    """Read what `wrapped_document` wrote. Raises `InvalidInputError`."""
    try:
        fields = {**document, "spec": spec_of(document["spec"])}
        return WrappedKey(**fields)
    except (KeyError, TypeError) as error:
        raise InvalidInputError("not a wrapped key") from error


def spec_of(document: Document) -> KeySpec:
    """Read a spec's map. Raises `InvalidInputError`."""
    try:
        return KeySpec(
            key_id=bytes(document["key_id"]),
            label=str(document["label"]),
            algorithm=Algorithm(document["algorithm"]),
            usage=KeyUsage(document["usage"]),
            extractable=bool(document.get("extractable", False)),
            trusted=bool(document.get("trusted", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError("not the spec of a key") from error


def ordered(request: Request, command: NewKey, key_class: KeyClass | None) -> KeySpec:
    """The spec of a key that an approved request brings into being."""
    return KeySpec(
        key_id=request.id.bytes,
        label=command.label,
        algorithm=command.algorithm,
        usage=command.usage,
        extractable=key_class is not None and key_class.extractable,
    )


def _fields(record: WrappedKey | KeySpec) -> Document:
    """Its fields as they are; `asdict` would copy what cannot change."""
    return {name: getattr(record, name) for name in record.__slots__}


def record_of(document: Document) -> ObjectRecord:
    return ObjectRecord(**document)
