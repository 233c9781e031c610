"""Which make of module stands behind a token."""

from typing import Any

from hsm.pkcs11.vendors.generic import GENERIC
from hsm.pkcs11.vendors.nss import NSS
from hsm.pkcs11.vendors.softhsm import SOFTHSM
from hsm.pkcs11.vendors.vendor import Vendor

# By the manufacturer that the token names: a remote or proxying library names itself.
MANUFACTURERS = {"SoftHSM project": SOFTHSM, "Mozilla Foundation": NSS}

__all__ = ["Vendor", "vendor_of"]


def vendor_of(token: Any) -> Vendor:
    return MANUFACTURERS.get(token.manufacturer_id, GENERIC)
