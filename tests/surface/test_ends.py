"""Rights that were given until a time end at that second, on connections that are open."""

import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from keyvault.domain.commands import EnrolSystem
from keyvault.domain.people import EVERYWHERE, Grant, Role
from keyvault.domain.times import text_of
from keyvault.signatures import SoftwareCredential
from tests.stack import PASSPHRASE, SCOPE, Machine, Someone, Stack, joiner, ok

BODY = {"digest": b64encode(bytes(32)).decode()}


def short_lived(stack: Stack, until: datetime) -> Someone:
    """Somebody whose one role ends soon."""
    name = f"guest-{uuid4().hex[:6]}"
    credential = SoftwareCredential.create(stack.folder / f"{name}.key", PASSPHRASE)
    grants = (Grant(Role.KEY_APPROVER, EVERYWHERE, text_of(until)),)
    stack.carry_out(stack.ask(joiner(name, credential, Role.KEY_APPROVER, grants=grants)))
    guest = stack.newcomer(name, credential)
    guest.acknowledge()
    return guest


@pytest.mark.soak
def test_a_role_and_an_enrolment_end_by_the_clock_alone(stack: Stack, signing_key: str):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    guest, machine = short_lived(stack, until), Machine(stack, f"guest-{uuid4().hex[:6]}")
    own, rights = machine.der, (("key:sign",), ("*",))
    wanted = EnrolSystem(machine.id, "a guest", own, own, *rights, text_of(until))
    stack.carry_out(stack.ask(wanted, SCOPE))
    reading = lambda: guest.client().get("/v1/keys")  # noqa: E731  (as the others are)
    signing = lambda: machine.client().post(  # noqa: E731  (as the others are)
        f"/v1/keys/{signing_key}/signatures", json=BODY
    )
    for call in (reading, signing):
        ok(call())
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    assert reading().status_code == 403
    assert signing().status_code == 401
