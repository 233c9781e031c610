"""The closed list of events: each has its class of retention, and what its payload may hold."""

from __future__ import annotations

from typing import Any

from keyvault.catalogue import CATALOGUE, MEANS

KINDS_OF_VALUES = {
    str: "text",
    int: "number",
    bool: "bool",
    list: "list",
    dict: "object",
    type(None): "null",
}
RETENTION: dict[str, str] = {}
# Of each type: every field with its kinds, and whether it has to be there.
SCHEMAS: dict[str, dict[str, tuple[frozenset[str], bool]]] = {}
for entry in CATALOGUE.replace("\n  ", " ").strip().split("\n"):
    kind_of_event, RETENTION[entry.split()[0]], *fields_of_event = entry.split()
    spelt = " ".join(MEANS.get(word, word) for word in fields_of_event).split()
    SCHEMAS[kind_of_event] = {
        word.split("=")[0]: (frozenset(word.split("=")[1].strip("?").split("/")), word[-1] != "?")
        for word in spelt
    }


class Catalogue:
    """Counts payloads that do not fit. No hash breaks by that, so it is told and not refused."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def look(self, index: int, kind: str, payload: Any) -> None:
        if kind not in SCHEMAS:
            self.misfit(index, f"{kind} is no event of the list")
        elif payload is not None:
            schema = SCHEMAS[kind]
            for name, value in payload.items():
                kinds, _ = schema.get(name) or (frozenset(), False)
                if KINDS_OF_VALUES[type(value)] not in kinds:
                    self.misfit(index, f"{name} of {kind} is not in the list, or of another kind")
            for name, (_, needed) in schema.items():
                if needed and name not in payload:
                    self.misfit(index, f"{kind} lacks {name}")

    def misfit(self, index: int, what: str) -> None:
        self.count += 1
        self.first = self.first or f"event {index}: {what}"

    def sentence(self) -> str:
        return f"{self.count} payloads do not fit the list of events, first {self.first}"
