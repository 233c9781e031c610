"""Templates leave nothing to a library's default, for every kind of key."""

import pytest
from pkcs11 import Attribute

from hsm.pkcs11 import templates
from hsm.pkcs11.vendors import Vendor
from hsm.types import Algorithm, KeyUsage
from tests.contract.conftest import spec_of
from tests.contract.known import USES

PLAIN, TRUSTING = Vendor("plain"), Vendor("trusting", trusts=True)
ALWAYS = {
    Attribute.ID,
    Attribute.LABEL,
    Attribute.TOKEN,
    Attribute.PRIVATE,
    Attribute.MODIFIABLE,
    Attribute.COPYABLE,
    Attribute.DESTROYABLE,
}
HIDDEN = {Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.WRAP_WITH_TRUSTED}


@pytest.mark.parametrize(("algorithm", "usage"), USES)
def test_every_flag_is_said_and_only_the_purpose_is_on(algorithm, usage) -> None:
    spec = spec_of(algorithm, usage)
    if algorithm.is_pair:
        private = templates.private_key(spec, PLAIN, token=True)
        public = templates.public_key(spec, PLAIN, token=True)
        assert private.keys() >= ALWAYS | HIDDEN | templates.PRIVATE_FLAGS
        assert public.keys() >= ALWAYS | templates.PUBLIC_FLAGS
        on = {f for f in templates.PRIVATE_FLAGS if private[f]}
        assert on == templates.PURPOSE[usage] & templates.PRIVATE_FLAGS
        assert len(on) == 1
    else:
        secret = templates.secret_key(spec, PLAIN, token=True)
        assert secret.keys() >= ALWAYS | HIDDEN | templates.SECRET_FLAGS
        assert {f for f in templates.SECRET_FLAGS if secret[f]} == templates.PURPOSE[usage]


@pytest.mark.parametrize("extractable", [True, False])
def test_a_key_that_may_leave_is_bound_to_trusted_keks_where_the_module_keeps_to_it(
    extractable,
) -> None:
    key = spec_of(Algorithm.AES_256, KeyUsage.ENCRYPT, extractable=extractable)
    kek = spec_of(Algorithm.AES_256, KeyUsage.WRAP, trusted=True)
    for vendor in (PLAIN, TRUSTING):
        made = templates.secret_key(key, vendor, token=True)
        assert made[Attribute.WRAP_WITH_TRUSTED] == (extractable and vendor.trusts)
        assert made[Attribute.TRUSTED] is False
        assert templates.secret_key(kek, vendor, token=True)[Attribute.TRUSTED] == vendor.trusts
