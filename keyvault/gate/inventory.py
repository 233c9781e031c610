"""What is on the token, for reconciling."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hsm.device import Device
from hsm.errors import KeyUnusableError
from keyvault.domain.canonical import Document
from keyvault.gate.documents import made_document, spec_of
from keyvault.gate.services import ordinary

METHODS = ("inventory", "inspect", "discard_public_half")


class Inventory:
    """The part of the keys gate that looks at its token."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in METHODS}

    def inventory(self) -> list[Document]:
        return [asdict(record) for record in self._device.inventory()]

    def inspect(self, key_id: bytes, spec: Document) -> Document:
        """Read a resident key back and test it, as after its making."""
        return made_document(self._device.inspect(spec_of({**spec, "key_id": ordinary(key_id)})))

    def discard_public_half(self, key_id: bytes) -> int:
        """Destroy what a crash left of a pair. Raises `KeyUnusableError` if a secret is there."""
        found = self._device.find(ordinary(key_id))
        if any(record.object_class != "PUBLIC_KEY" for record in found):
            raise KeyUnusableError(
                "there is more than a public half", next_step="a key is destroyed by approval"
            )
        return self._device.destroy(key_id) if found else 0
