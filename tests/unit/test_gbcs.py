"""What goes into the key of one GBCS message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.gbcs import COUNTER_LIMIT, MessageKind, Transaction, eui64

US, METER = "90B3D51F30010000", "00DB1234567890A0"
IDS = st.binary(min_size=8, max_size=8).map(lambda raw: raw.hex().upper())
TRANSACTIONS = st.builds(
    Transaction, st.sampled_from(MessageKind), IDS, st.integers(1, COUNTER_LIMIT - 1), IDS
)


def test_other_info_is_laid_out_as_gbcs_says():
    info = Transaction(MessageKind.COMMAND, US, 0x100000000, METER).other_info
    parts = ("60857406080300", US, "09", "01", "0000000100000000", METER)
    assert info.hex().upper() == "".join(parts)
    assert len(info) == 33


def test_the_iv_is_the_originator_and_zeros():
    assert Transaction(MessageKind.ALERT, METER, 1, US).iv.hex().upper() == METER + "00000000"


@given(TRANSACTIONS, TRANSACTIONS)
def test_two_transactions_share_no_other_info(one, other):
    assert (one.other_info == other.other_info) == (one == other)


@pytest.mark.parametrize("text", ["90-B3-D5-1F-30-01-00-00", "90:b3:d5:1f:30:01:00:00", US.lower()])
def test_an_eui64_has_one_form_however_it_was_written(text):
    assert eui64(text) == US


@pytest.mark.parametrize("text", ["", US[1:], US + "0", "G" * 16, "\uff19" * 16])
def test_what_is_no_eui64_is_refused(text):
    with pytest.raises(InvalidInputError):
        eui64(text)


@pytest.mark.parametrize("counter", [0, -1, COUNTER_LIMIT])
def test_a_counter_outside_its_64_bits_is_refused(counter):
    with pytest.raises(InvalidInputError):
        Transaction(MessageKind.COMMAND, US, counter, METER)


def test_an_id_of_another_length_is_refused():
    with pytest.raises(InvalidInputError):
        Transaction(MessageKind.COMMAND, US, 1, METER[2:])
