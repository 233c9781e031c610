"""Readers that come and go, a service that dies or hangs: clear errors, kept deadlines."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hsm import errors
from hsm.pcsc.apdu import Channel
from hsm.pcsc.credential import PivCredential
from hsm.pcsc.piv import PivCard, PivSlot
from hsm.pcsc.reader import PcscCard, list_readers, wait_for_card
from tests.cards.bench import NAMES, Bench
from tests.cards.conftest import inserted
from tests.cards.simulator.card import ATR_T1, Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.piv import PIN
from tests.cards.simulator.vpcd import VirtualCard

READER, OTHER_READER = NAMES


def children() -> set[str]:
    """Processes of ours that speak PC/SC."""
    command = ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line for line in listing.splitlines() if "hsm.pcsc.child" in line}


def test_readers_are_listed_with_the_card_in_them(virtual: VirtualCard) -> None:
    assert virtual.card.atr == ATR_T1
    readers = {reader.name: reader for reader in list_readers()}
    assert set(readers) == set(NAMES)
    assert readers[READER].atr == ATR_T1
    assert not readers[OTHER_READER].has_card


def test_an_empty_reader_and_an_unknown_one_are_told_apart(bench: Bench) -> None:
    assert bench.pid
    with pytest.raises(errors.CardAbsentError):
        PcscCard(OTHER_READER)
    with pytest.raises(errors.ReaderNotFoundError, match="Nobody's") as caught:
        PcscCard("Nobody's")
    assert READER in caught.value.next_step


def test_a_card_is_awaited_and_its_leaving_too(bench: Bench) -> None:
    assert not wait_for_card(OTHER_READER, seconds=0.3)
    with inserted(bench, Card(personalised()), 1):
        assert not wait_for_card(OTHER_READER, present=False, seconds=0.3)
    assert wait_for_card(OTHER_READER, present=False, seconds=5)


def test_a_card_is_reset_at_opening_and_at_closing(virtual: VirtualCard) -> None:
    before = virtual.resets
    with PcscCard(READER) as transport:
        PivCard(Channel(transport)).verify_pin(PIN)
        opened = virtual.resets
        assert opened > before
    assert virtual.resets > opened
    assert not virtual.card.application.verified


def test_a_session_never_goes_on_with_a_card_that_was_put_in_again(bench: Bench) -> None:
    card = Card(personalised())
    with inserted(bench, card, 1):
        transport = PcscCard(OTHER_READER)
        channel = Channel(transport)
        PivCard(channel).verify_pin(PIN)
    with inserted(bench, card, 1), transport, pytest.raises(errors.CardRemovedError):
        PivCard(channel)


def test_a_card_with_a_nonsense_answer_to_reset_is_refused(bench: Bench) -> None:
    card = Card(personalised())
    card.atr = b"\xff\x00\x13"
    with inserted(bench, card, 1):
        begin = time.monotonic()
        with pytest.raises(errors.CardDataError, match="neither T=0 nor T=1"):
            PcscCard(OTHER_READER)
        assert time.monotonic() - begin < 5


def test_a_connection_leaves_no_process_behind(virtual: VirtualCard) -> None:
    assert virtual.card.atr
    with PcscCard(READER):
        assert children()
    with pytest.raises(errors.ReaderNotFoundError):
        PcscCard("Reader that nobody has")
    list_readers()
    assert not children()


def test_the_card_is_let_go_of_when_our_process_is_killed(virtual: VirtualCard) -> None:
    """The grandchild sees its input end; the service then resets the card."""
    code = (
        "import os, sys, time\n"
        "from hsm.pcsc.apdu import Channel\n"
        "from hsm.pcsc.piv import PivCard\n"
        "from hsm.pcsc.reader import PcscCard\n"
        "PivCard(Channel(PcscCard(sys.argv[1]))).verify_pin(sys.stdin.readline().encode())\n"
        "print('verified', flush=True)\n"
        "time.sleep(60)\n"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", code, READER],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with victim:
        victim.stdin.write(PIN)
        victim.stdin.close()
        assert victim.stdout.readline() == b"verified\n"
        assert virtual.card.application.verified
        victim.send_signal(signal.SIGKILL)
    with PcscCard(READER) as transport:  # waits for the service to have let go
        assert PivCard(Channel(transport)).tries_left() == 3


def test_a_killed_service_is_named_and_once_it_is_back_all_works(own_bench: Bench) -> None:
    card = Card(personalised())
    own_bench.insert(card)
    assert wait_for_card(READER, seconds=10)
    with PcscCard(READER) as transport:
        own_bench.kill_pcscd()
        with pytest.raises(errors.PcscUnavailableError):
            PivCard(Channel(transport))
    with pytest.raises(errors.PcscUnavailableError):
        list_readers()
    own_bench.start_pcscd()
    own_bench.insert(card)
    assert wait_for_card(READER, seconds=10)
    credential = PivCredential.of_card(READER, PivSlot.AUTHENTICATION, lambda _: PIN)
    assert credential.sign(b"message")


def test_a_card_is_awaited_across_a_restart_of_the_service(own_bench: Bench) -> None:
    seen: list[bool] = []
    waiting = threading.Thread(target=lambda: seen.append(wait_for_card(READER, seconds=20)))
    waiting.start()
    own_bench.until_a_client_has_come()
    own_bench.kill_pcscd()
    own_bench.start_pcscd()
    own_bench.insert(Card(personalised()))
    waiting.join(20)
    assert seen == [True]


def test_a_hung_service_costs_the_deadline_and_no_more(own_bench: Bench) -> None:
    own_bench.insert(Card(personalised()))
    assert wait_for_card(READER, seconds=10)
    with PcscCard(READER) as transport:
        own_bench.freeze_pcscd()
        begin = time.monotonic()
        with pytest.raises(errors.CardMuteError):
            transport.transmit(bytes.fromhex("00A4040000"), 0.5)
        assert time.monotonic() - begin < 2
    own_bench.thaw_pcscd()
    with PcscCard(READER) as transport:
        assert PivCard(Channel(transport)).tries_left() == 3


def test_two_readers_work_side_by_side(bench: Bench, virtual: VirtualCard) -> None:
    cards = {READER: virtual.card, OTHER_READER: Card(personalised())}
    signatures: dict[str, bytes] = {}

    def sign(reader: str) -> None:
        credential = PivCredential.of_card(reader, PivSlot.SIGNATURE, lambda _: PIN)
        signatures[reader] = credential.sign(b"message")

    with inserted(bench, cards[OTHER_READER], 1):
        threads = [threading.Thread(target=sign, args=(reader,)) for reader in cards]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert set(signatures) == set(cards)
