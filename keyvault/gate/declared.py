"""What the settings declare of a module, held against what a key's class asks for."""

from hsm.device import Device
from keyvault.domain.commands import Command, NewKey
from keyvault.domain.errors import ModuleLevelError, ModuleLocationError
from keyvault.domain.keys import KeyClass
from keyvault.settings import ModuleSettings


class Declared:
    """The level of a module, as its certificate says it, and the place where it stands."""

    def __init__(self, device: Device, module: ModuleSettings) -> None:
        self._place = module.location.partition(",")[0].strip()
        self._level = 0 if device.info.is_softhsm else module.level

    def check(self, command: Command, key_class: KeyClass | None) -> None:
        """Refuse a key whose class asks for a better module than this one is declared to be."""
        needed, level = key_class.module_level if key_class else 0, self._level
        if isinstance(command, NewKey) and level < needed:
            raise ModuleLevelError(
                f"this module counts as level {level}, and the class asks for {needed}",
                next_step="declare the level of a validated module; SoftHSM has none",
            )
        place = key_class.location if key_class else None
        if place is not None and place != self._place:
            raise ModuleLocationError(
                f"keys of this class rest in {place}, and this module is declared to stand in"
                f" {self._place or 'no place'}",
                next_step="choose another module or class, or declare keys.location",
            )
