"""NSS softokn, the module inside Firefox. It is configured by a string: see `x-init-args`."""

from pkcs11 import Attribute

from hsm.pkcs11.vendors.vendor import Vendor

NSS = Vendor(
    name="nss",
    unknown=frozenset({Attribute.LOCAL}),
    misstates_sizes=True,
)
