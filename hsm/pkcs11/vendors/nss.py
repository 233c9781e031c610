"""NSS softokn, the module inside Firefox. It is configured by a string: see `x-init-args`.

Its database has no column for COPYABLE and DESTROYABLE, and LOCAL stays false. Asked for the size
of a GCM ciphertext or a wrapped key, it tells the size of what went in. It stores no data
objects, but writes a secret key over an older one with the same CKA_ID. Its tokens are made by
certutil, not by C_InitToken. A wrapped EC key comes back only if its public
point is given, and every private key with all uses granted.
A copy of a key that was always sensitive is said not to be.
"""

from pkcs11 import Attribute

from hsm.pkcs11.vendors.vendor import Vendor

NSS = Vendor(
    name="nss",
    refusals=frozenset({"CKR_ARGUMENTS_BAD"}),  # some ill-made OAEP ciphertexts
    unknown=frozenset({Attribute.COPYABLE, Attribute.DESTROYABLE, Attribute.LOCAL}),
    point_on_unwrap=0xD5A0DB00,  # CKA_NSS_DB
    unknown_on_unwrap=frozenset({Attribute.MODIFIABLE}),  # or its uses could not be taken away
    grants_on_unwrap=True,
    misstates_sizes=True,
    copies_are_born_here=False,
    data_in_labels=True,
)
