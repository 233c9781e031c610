"""Time stamps: two authorities, two verifiers, and no authority that stops anybody."""

import time
from hashlib import sha256

import pytest
from rfc3161_client import decode_timestamp_response

from keyvault.domain.audit import EventType
from keyvault.domain.errors import InvalidInputError
from keyvault.settings import TimeSettings
from keyvault.stamper import Stamper
from keyvault.timestamps.client import TimeStampError, ask, checked
from keyvault.timestamps.local import create
from tests.stack import free_port

DATA = b"a note\n"


def stamps(log):
    with log.database.reading() as reading:
        return reading.audit.stamps_around(0, 10**9, 10**9)


def test_both_authorities_stamp_the_same_checkpoint_and_the_log_tells_of_both(log, first, second):
    size = log.seal(3)
    Stamper(log.database, TimeSettings(authorities=(first, second))).turn()
    kept = stamps(log)
    assert [(stamp.tsa, stamp.size) for stamp in kept] == [("first", size), ("second", size)]
    told = {event.payload for event in log.events(EventType.TIME_STAMPED)}
    assert len(told) == 2
    assert all(any(sha256(s.reply).hexdigest().encode() in one for one in told) for s in kept)


def test_a_dead_authority_is_told_once_left_alone_and_stops_nobody(log, first):
    dead = first.model_copy(update={"name": "dead", "url": f"http://127.0.0.1:{free_port()}/"})
    stamper = Stamper(log.database, TimeSettings(authorities=(dead, first), interval=0.001))
    for _ in range(3):
        log.seal()
        stamper.turn()
        time.sleep(0.01)
    assert {stamp.tsa for stamp in stamps(log)} == {"first"}
    assert len(log.events(EventType.TIME_STAMP_FAILED)) == 1
    assert len(log.events(EventType.TIME_STAMPED)) == 3


def test_nothing_new_is_not_stamped_again(log, first):
    stamper = Stamper(log.database, TimeSettings(authorities=(first,), interval=0.001, look=0.001))
    log.seal()
    for _ in range(2):
        stamper.turn()
        time.sleep(0.01)
    assert len(log.events(EventType.TIME_STAMPED)) == 1


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("where", ["imprint", "signature"])
def test_a_token_with_one_bit_changed_is_believed_by_nobody(first, where, bit):
    """In what is signed, and in the signature; around them are words that say nothing."""
    reply = bytearray(ask(first, DATA).reply)
    at = {"imprint": reply.index(sha256(DATA).digest()), "signature": len(reply) - 20}[where]
    reply[at] ^= 1 << bit
    with pytest.raises(TimeStampError):
        checked(first, bytes(reply), DATA)


def test_a_token_over_other_data_or_of_another_root_or_policy_is_refused(first, second):
    reply = ask(first, DATA).reply
    with pytest.raises(TimeStampError, match="rfc3161"):
        checked(first, reply, b"another note\n")
    with pytest.raises(TimeStampError, match="rfc3161"):
        checked(second, reply, DATA)
    with pytest.raises(TimeStampError, match="rfc3161"):
        checked(first.model_copy(update={"policy": "1.2.3.4"}), reply, DATA)
    nonce = decode_timestamp_response(reply).tst_info.nonce
    checked(first, reply, DATA, nonce)
    with pytest.raises(TimeStampError, match="rfc3161"):
        checked(first, reply, DATA, nonce + 1)


def test_an_authority_off_this_host_has_to_be_https(first):
    with pytest.raises(InvalidInputError, match="https"):
        ask(first.model_copy(update={"url": "http://tsa.example/"}), DATA)


def test_a_local_authority_says_so_and_overwrites_nothing(first):
    assert b"LOCAL time, not independent" in ask(first, DATA).reply
    with pytest.raises(InvalidInputError, match="left alone"):
        create(first.ca.parent, "again")
