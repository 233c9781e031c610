"""The gate's own memory of its keys: what it lets them do, whatever others say of them."""

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from hsm.errors import KeyNotFoundError, KeyUnusableError
from hsm.types import VerifyPolicy
from keyvault.domain.approvals import Request
from keyvault.domain.commands import AllowUse
from keyvault.domain.errors import (
    KeyStateError,
    NotReadyError,
    ReplayedError,
    UseNotAllowedError,
)
from keyvault.domain.keys import MOVES, USABLE, KeyClass, KeyState, Purpose, Residence
from keyvault.gate.register import STALE, Register
from tests.unit.officers import ORDER, request_for

PLAIN = KeyClass("standard", Residence.RESIDENT, VerifyPolicy.ALWAYS)
GUARDED = KeyClass("guarded", Residence.RESIDENT, VerifyPolicy.ALWAYS, guarded=True)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def register(tmp_path):
    made = Register(tmp_path / "gate.db")
    yield made
    made.close()


def ordered(register: Register, number: int = 0, key_class: KeyClass = PLAIN) -> bytes:
    """A key that this register knows, not active yet."""
    request = request_for(ORDER, number=number)
    register.redeem(request, key_class, now())
    return request.id.bytes


def active(register: Register, number: int = 0, key_class: KeyClass = PLAIN) -> bytes:
    key = ordered(register, number, key_class)
    register.move(key, KeyState.ACTIVE)
    return key


def allow(register: Register, key: bytes, uses: int, number: int = 1, hours: int = 1) -> None:
    command = AllowUse(UUID(bytes=key), uses, hours, "a batch that was agreed")
    register.redeem(request_for(command, number=number), GUARDED, now())


def test_a_key_that_rests_wrapped_is_not_looked_for_on_the_token(register):
    resting = active(register, 1, replace(PLAIN, residence=Residence.WRAPPED))
    with pytest.raises(KeyNotFoundError):
        register.on_token(resting)
    assert register.on_token(resident := active(register, 2)) == resident
    assert register.on_token(b"\7" * 16) == b"\7" * 16  # made before there was a register


def test_the_register_of_an_older_program_is_read_on(tmp_path):
    older = Register(tmp_path / "gate.db")
    key = active(older)
    older.close()
    with closing(sqlite3.connect(tmp_path / "gate.db")) as file:
        file.execute("ALTER TABLE life DROP COLUMN wrapped")
    newer = Register(tmp_path / "gate.db")
    assert newer.on_token(key) == key
    ordered(newer, 5)
    newer.close()


def test_a_request_is_redeemed_once(register):
    request = request_for(ORDER)
    register.redeem(request, PLAIN, now())
    with pytest.raises(ReplayedError):
        register.redeem(request, PLAIN, now())
    assert register.get(request.id) == request


def test_a_request_that_was_withdrawn_is_never_redeemed(register):
    request = request_for(ORDER)
    register.withdraw(request.id)
    assert register.get(request.id) is None
    with pytest.raises(ReplayedError):
        register.redeem(request, PLAIN, now())
    assert register.life(request.id.bytes) is None


def test_a_request_that_was_redeemed_stays_so_when_it_is_withdrawn(register):
    request = request_for(ORDER)
    register.redeem(request, PLAIN, now())
    register.withdraw(request.id)
    assert register.get(request.id) == request


def test_a_key_that_nobody_ordered_here_is_used_for_nothing(register):
    with pytest.raises(KeyUnusableError, match="redeemed no order"):
        register.check_use(bytes(16), Purpose.PROTECT)
    with pytest.raises(KeyUnusableError):
        register.move(bytes(16), KeyState.ACTIVE)


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("state", list(KeyState))
def test_a_key_serves_a_purpose_in_the_states_that_allow_it(register, purpose, state):
    key = ordered(register)
    path = {
        KeyState.PRE_ACTIVE: (),
        KeyState.ACTIVE: (KeyState.ACTIVE,),
        KeyState.SUSPENDED: (KeyState.ACTIVE, KeyState.SUSPENDED),
        KeyState.DEACTIVATED: (KeyState.ACTIVE, KeyState.DEACTIVATED),
        KeyState.COMPROMISED: (KeyState.COMPROMISED,),
        KeyState.DESTROYED: (KeyState.DESTROYED,),
    }
    for step in path[state]:
        register.move(key, step)
    if state in USABLE[purpose]:
        register.check_use(key, purpose)
    else:
        with pytest.raises(KeyStateError, match=str(state)):
            register.check_use(key, purpose)


def test_a_period_ends_by_the_clock_alone(register):
    key = request_for(ORDER, number=5)
    began = now() - timedelta(days=ORDER.protect_days, seconds=1)
    register.redeem(key, PLAIN, began)
    register.move(key.id.bytes, KeyState.ACTIVE)
    with pytest.raises(KeyStateError, match="period to protect"):
        register.check_use(key.id.bytes, Purpose.PROTECT)
    register.check_use(key.id.bytes, Purpose.PROCESS)


def test_what_one_gate_stops_another_of_its_host_stops_within_a_moment(tmp_path):
    one, other = Register(tmp_path / "gate.db"), Register(tmp_path / "gate.db")
    key = active(one)
    other.check_use(key, Purpose.PROTECT)
    one.move(key, KeyState.SUSPENDED)
    time.sleep(STALE)
    with pytest.raises(KeyStateError):
        other.check_use(key, Purpose.PROTECT)
    one.close()
    other.close()


def test_a_guarded_key_is_used_as_often_as_was_allowed_and_no_more(register):
    key = active(register, key_class=GUARDED)
    with pytest.raises(UseNotAllowedError):
        register.check_use(key, Purpose.PROTECT)
    allow(register, key, uses=3)
    register.check_use(key, Purpose.PROTECT, count=2)
    with pytest.raises(UseNotAllowedError):
        register.check_use(key, Purpose.PROTECT, count=2)
    register.check_use(key, Purpose.PROTECT)
    with pytest.raises(UseNotAllowedError):
        register.check_use(key, Purpose.PROTECT)


def test_an_allowance_ends_by_the_clock(register):
    key = active(register, key_class=GUARDED)
    command = AllowUse(UUID(bytes=key), 10, 1, "yesterday's batch")
    register.redeem(request_for(command, number=2), GUARDED, now() - timedelta(hours=1, seconds=1))
    with pytest.raises(UseNotAllowedError):
        register.check_use(key, Purpose.PROTECT)


def test_two_gates_take_no_use_twice(tmp_path):
    gates = [Register(tmp_path / "gate.db") for _ in range(2)]
    key = active(gates[0], key_class=GUARDED)
    allow(gates[0], key, uses=20)
    taken = 0
    for number in range(40):
        try:
            gates[number % 2].check_use(key, Purpose.PROTECT)
        except UseNotAllowedError:
            continue
        taken += 1
    assert taken == 20
    for gate in gates:
        gate.close()


CRASH = """
import sys
from pathlib import Path
from hsm.types import VerifyPolicy
from keyvault.domain.keys import KeyClass, KeyState, Residence
from keyvault.gate.register import Register
from tests.unit.officers import ORDER, request_for
from datetime import UTC, datetime
register = Register(Path(sys.argv[1]))
for number in range(10_000):
    request = request_for(ORDER, number=number)
    register.redeem(request, KeyClass("standard", Residence.RESIDENT, VerifyPolicy.ALWAYS),
                    datetime.now(UTC))
    print(request.id, flush=True)
"""


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path):
    file = tmp_path / "gate.db"
    line = [sys.executable, "-c", CRASH, str(file)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        told = [process.stdout.readline().strip() for _ in range(25)]
        process.kill()
        told += process.stdout.read().split()
    register = Register(file)
    for text in told[:-1]:  # the last line may have been cut off
        assert register.get(UUID(text)) is not None
        assert register.life(UUID(text).bytes).state is KeyState.PRE_ACTIVE
    register.close()


def test_a_full_disk_is_said_and_nothing_is_redeemed(tmp_path):
    register = Register(tmp_path / "gate.db")
    register._file.execute("PRAGMA max_page_count = 8")  # noqa: SLF001  (a disk of 32 KiB)

    def fill() -> None:
        for number in range(200):
            requests.append(request_for(ORDER, number=number))
            register.redeem(requests[-1], PLAIN, now())

    requests: list[Request] = []
    with pytest.raises(NotReadyError, match="cannot write down"):
        fill()
    failed = requests[-1]
    assert register.get(failed.id) is None
    assert register.life(failed.id.bytes) is None
    register.close()


@pytest.mark.usefixtures("register")
def test_others_on_the_host_cannot_read_it(tmp_path):
    assert (tmp_path / "gate.db").stat().st_mode & 0o077 == 0


def test_a_damaged_file_stops_the_gate(tmp_path):
    file = tmp_path / "gate.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(NotReadyError, match="cannot be read"):
        Register(file)


class Lives(RuleBasedStateMachine):
    """Whatever is asked in whatever order, a key takes only the arrows that there are."""

    keys = Bundle("keys")

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.register = Register(Path(self.folder.name) / "gate.db", limit=2)
        self.model: dict[bytes, KeyState] = {}
        self.number = 0

    @rule(target=keys)
    def order(self):
        self.number += 1
        key = ordered(self.register, self.number)
        self.model[key] = KeyState.PRE_ACTIVE
        return key

    @rule(key=keys, state=st.sampled_from(KeyState))
    def move(self, key, state):
        before = self.model[key]
        if state is before or state in MOVES[before]:
            self.register.move(key, state)
            self.model[key] = state
        else:
            with pytest.raises(KeyStateError):
                self.register.move(key, state)

    @invariant()
    def agrees(self):
        for key, state in getattr(self, "model", {}).items():
            assert self.register.life(key).state is state

    def teardown(self):
        self.register.close()
        self.folder.cleanup()


Lives.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestLives = Lives.TestCase
