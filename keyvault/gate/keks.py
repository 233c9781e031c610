"""The keys under which others rest wrapped: the next is made, records go under it, the old goes.

Which one is current the token says itself: that of the highest number. All of them are the
service's own, so a record rests under any that is still there, as its MAC says.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hsm.device import Device
from hsm.errors import DeviceUnavailableError, HsmError, KeyUnusableError
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command, RetireKek, RotateKek
from keyvault.domain.errors import InvalidInputError, KeyStateError, VaultError
from keyvault.domain.keys import MAX_KEKS, kek_name, service_key_id
from keyvault.gate import services
from keyvault.gate.documents import wrapped_document, wrapped_of

ON_KEKS = (RotateKek, RetireKek)
MAX_RECORDS = 64  # in one call, so that no other call waits for long
KEK_IDS = frozenset(service_key_id(kek_name(number)) for number in range(1, MAX_KEKS + 1))
MAC_ID = service_key_id(services.MAC)


class Keks:
    """What the keys gate does about the service's own wrapping keys."""

    def __init__(self, device: Device, forget: Callable[[bytes], None]) -> None:
        """`forget`: have the other gates of this host hold nothing of a key."""
        self._device = device
        self._forget = forget
        self._newest = 1

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {"keks": self.keks, "rewrap": self.rewrap}

    @property
    def resting(self) -> tuple[bytes, bytes]:
        """Under which key and which MAC new keys rest. Another gate may have made the next one."""
        while self._newest < MAX_KEKS and self._there(self._newest + 1):
            self._newest += 1
        return service_key_id(kek_name(self._newest)), MAC_ID

    def keks(self) -> list[int]:
        """The numbers of those that are on the token, the newest last."""
        self.resting  # noqa: B018  (finds the newest)
        return [number for number in range(1, self._newest + 1) if self._there(number)]

    def rewrap(self, records: list[Document]) -> list[Document]:
        """Return each record under the newest key, or why not: {"code", "message"}."""
        if not 0 < len(records) <= MAX_RECORDS:
            raise InvalidInputError(f"bring 1 to {MAX_RECORDS} records at a time")
        return [self._rewrapped(record) for record in records]

    def act(self, command: Command) -> Callable[[], Document] | None:
        """Find what to do, if the command is about these keys."""
        match command:
            case RotateKek():
                return self._rotating(command)
            case RetireKek():
                return self._retiring(command)
            case _:
                return None

    def _rotating(self, command: RotateKek) -> Callable[[], Document]:
        """Make the next key, once: it is found again if a crash came between."""
        if command.number > MAX_KEKS:
            raise InvalidInputError(f"there are at most {MAX_KEKS} of these keys in all")
        self.resting  # noqa: B018  (finds the newest)
        if command.number not in (self._newest, self._newest + 1):
            raise KeyStateError(f"the newest of these keys has the number {self._newest}")
        return partial(self._make, command.number)

    def _retiring(self, command: RetireKek) -> Callable[[], Document]:
        """Destroy an older key. The newest one stays."""
        self.resting  # noqa: B018  (finds the newest)
        if command.number >= self._newest:
            raise KeyStateError("this is the newest of these keys", next_step="rotate it first")
        key_id = service_key_id(kek_name(command.number))
        return partial(self._retire, key_id)

    def _retire(self, key_id: bytes) -> Document:
        destroyed = self._device.destroy(key_id)
        self._forget(key_id)
        return {"destroyed": destroyed}

    def _make(self, number: int) -> Document:
        name = kek_name(number)
        if not self._there(number):
            self._device.generate(services.service_spec(name))
        made = self._device.inspect(services.service_spec(name))
        self._newest = max(self._newest, number)
        return {"number": number, "check_value": made.check_value}

    def _there(self, number: int) -> bool:
        return bool(self._device.find(service_key_id(kek_name(number))))

    def _rewrapped(self, document: Document) -> Document:
        record = wrapped_of(document)
        try:
            check_resting(record.kek_id, record.mac_key_id)
            return wrapped_document(self._device.rewrap(record, self.resting[0]))
        except DeviceUnavailableError:
            raise
        except (HsmError, VaultError) as error:
            return {"code": error.code, "message": str(error)}


def check_resting(kek_id: bytes, mac_key_id: bytes) -> None:
    """Refuse another MAC key: whoever could name one would forge records, MACs being free."""
    if kek_id not in KEK_IDS or mac_key_id != MAC_ID:
        raise KeyUnusableError(
            "a key rests under the service's own keys alone",
            next_step="somebody altered the row; look for who did",
        )
