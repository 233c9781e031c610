"""What is kept of the exchanges with a token holds no secret, whatever is sent and comes back."""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hsm.errors import CardDataError, CardRemovedError
from hsm.pcsc import trace
from hsm.pcsc.apdu import Command, TransmissionProtocol
from hsm.pcsc.piv import AID, Ins
from hsm.pcsc.trace import APPLICATIONS, LIMIT, Trace, of_command


def asked(kept: Trace, apdu: bytes, answer: dict) -> None:
    kept.asking({"do": "apdu", "apdu": apdu.hex(), "seconds": 1.0})
    kept.answered(answer)


BYTE = st.one_of(st.sampled_from([0, 4, 0x10, 0x80, 0x81, *map(int, Ins)]), st.integers(0, 255))


@st.composite
def pairs(draw, least=0):
    """Two secrets of one length."""
    size = draw(st.integers(least, 300))
    return tuple(draw(st.binary(min_size=size, max_size=size)) for _ in range(2))


@given(st.tuples(BYTE, BYTE, BYTE, BYTE), pairs(), pairs(), st.integers(0, 65_536))
def test_two_sessions_that_differ_in_secrets_alone_leave_the_same_trace(header, sent, came, le):
    """So nobody learns from a trace which of them it was."""
    cla, ins, p1, p2 = header
    assume(not any(data[:1] == b"\x5c" or data in APPLICATIONS for data in sent))
    kept = [Trace(), Trace()]
    for one, data, answer in zip(kept, sent, came, strict=True):
        response = {"response": (answer + b"\x90\x00").hex(), "message": answer.hex()}
        asked(one, Command(ins, p1, p2, data, le, cla).encode(), response)
    first, second = (replace(one.exchanges[0], at=0, took=0) for one in kept)
    assert first == second
    assert first.data == ""


@given(st.tuples(BYTE, BYTE), st.binary(max_size=40))
def test_of_a_command_s_own_data_a_known_name_is_shown_and_nothing_behind_it(head, data):
    for lead in (b"\x5c", b"\x5c\x03\x5f\xc1", *APPLICATIONS):
        for ins in (Ins.SELECT, Ins.GET_DATA, Ins.PUT_DATA, Ins.VERIFY):
            told = of_command(Command(ins, *head, lead + data).encode())
            names = {"", *(app.hex().upper() for app in APPLICATIONS)}
            assert len(told.about) <= 6
            assert told.data in names or (ins is Ins.GET_DATA and len(told.data) <= 10)


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_desk_s_words_are_not_believed_to_be_harmless(cause, call):
    kept = Trace()
    kept.asking({"do": "call", "call": {"do": call, "slot": cause, "pin": "31415926"}})
    kept.failed(CardRemovedError("31415926", cause=cause, next_step="31415926"))
    allowed = trace.DESKS.fullmatch(cause), trace.CALLS.fullmatch(call)
    (only,) = kept.exchanges
    assert only.status == (cause if allowed[0] else "")
    assert only.what == (call if allowed[1] else "unknown")
    assert "31415926" not in json.dumps(only.document())


@pytest.mark.parametrize("protocol", TransmissionProtocol)
def test_an_exchange_tells_header_lengths_object_and_status(protocol):
    kept = Trace()
    select, get = Command(0xA4, 4, 0, AID, 256), Command(0xCB, 0x3F, 0xFF, b"\x5c\x03\x5f\xc1\x05")
    asked(kept, select.encode(protocol), {"response": "61009000"})
    asked(kept, get.encode(protocol), {"response": "6a82"})
    first, second = kept.exchanges
    assert (first.what, first.header, first.lc, first.data) == (
        "SELECT",
        "00A40400",
        9,
        AID.hex().upper(),
    )
    assert (first.got, first.status) == (2, "9000")
    assert (second.about, second.data, second.status) == ("5FC105", "5C035FC105", "6A82")
    long = of_command(
        Command(0xDB, 0x3F, 0xFF, b"\x5c\x03\x5f\xc1\x05" + bytes(900), 65_536).encode()
    )
    assert (long.what, long.about, long.lc, long.le, long.data) == (
        "PUT DATA",
        "5FC105",
        905,
        65_536,
        "",
    )


def test_the_last_word_is_that_of_the_command_that_chaining_and_fetching_belong_to():
    kept = Trace()
    assert kept.last() == {}
    asked(
        kept,
        Command(0xDB, 0x3F, 0xFF, b"\x5c\x03\x5f\xc1\x0a" + bytes(250), 0, 0x10).encode(),
        {"response": "9000"},
    )
    asked(
        kept,
        Command(0xDB, 0x3F, 0xFF, b"\x5c\x03\x31\x32\x33" + bytes(90)).encode(),
        {"response": "6110"},
    )
    asked(kept, Command(0xC0, 0, 0, b"", 16).encode(), {"response": "6a84"})
    told = {"instruction": "PUT DATA", "about": "5FC10A", "status": "6A84", "error": ""}
    assert kept.last() == told
    kept.asking({"do": "apdu", "apdu": Command(0x20, 0, 0x80).encode().hex(), "seconds": 1})
    kept.failed(CardRemovedError("gone", cause="80100069"))
    told = {"instruction": "VERIFY", "about": "PIN", "status": "80100069", "error": "card-removed"}
    assert kept.last() == told


def test_a_session_ends_before_anything_of_it_is_left_out():
    kept = Trace()
    for _ in range(LIMIT):
        kept.asking({"do": "reset"})
        kept.answered({"response": ""})
    with pytest.raises(CardDataError, match="more than"):
        kept.asking({"do": "reset"})
    assert len(kept.exchanges) == LIMIT
