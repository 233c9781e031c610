"""A module that nobody has described yet: the standard's numbers, no quirks."""

from hsm.pkcs11.vendors.vendor import Vendor

GENERIC = Vendor(name="generic")
