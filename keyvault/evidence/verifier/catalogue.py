"""The closed list of events, each with its class of retention and what its payload holds."""

from __future__ import annotations

from keyvault.catalogue import CATALOGUE

RETENTION: dict[str, str] = {
    line.split()[0]: line.split()[1]
    for line in CATALOGUE.strip().split("\n")
    if not line.startswith(" ")
}
