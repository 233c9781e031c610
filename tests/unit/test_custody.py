"""Steps in a key's life: which state allows which, and what the clock says to it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain.custody import STEPS_IN, Step, check_step
from keyvault.domain.errors import KeyStateError
from keyvault.domain.keys import KeyState
from tests.store.events import NOW, new_key

ACTIVE = new_key(
    state=KeyState.ACTIVE,
    active_from=NOW,
    protect_until=NOW + timedelta(days=10),
    process_until=NOW + timedelta(days=20),
)


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("state", list(KeyState))
def test_a_step_is_taken_in_the_states_of_its_row_and_in_no_other(step, state):
    key = replace(ACTIVE, state=state)
    if state in STEPS_IN[step]:
        check_step(step, key, NOW)
    else:
        with pytest.raises(KeyStateError):
            check_step(step, key, NOW)


@pytest.mark.parametrize("state", sorted(STEPS_IN[Step.RENEWED]))
def test_a_key_is_renewed_until_its_cryptoperiod_ends_and_not_in_that_second(state):
    key = replace(ACTIVE, state=state)
    check_step(Step.RENEWED, key, key.process_until - timedelta(seconds=1))
    with pytest.raises(KeyStateError, match="period to process ended"):
        check_step(Step.RENEWED, key, key.process_until)


def test_nothing_is_done_with_what_is_gone():
    for step in Step:
        assert not STEPS_IN[step] & {KeyState.DESTROYED, KeyState.COMPROMISED}
