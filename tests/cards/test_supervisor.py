"""A supervisor that outlives its service, and sees every card that comes and goes."""

import queue

from hsm.pcsc.supervisor import ReaderSupervisor, Seen
from tests.cards.bench import NAMES
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised

PATIENCE = 15.0


def _until(events, seen, reader=""):
    while True:
        event = events.get(timeout=PATIENCE)
        if (event.seen, event.reader) == (seen, reader):
            return event


def test_a_supervisor_outlives_a_killed_service_and_sees_the_next_card(own_bench):
    events: queue.Queue = queue.Queue()
    with ReaderSupervisor(events.put):
        _until(events, Seen.READER_ADDED, NAMES[1])
        virtual = own_bench.insert(Card(personalised()), 1)
        first = _until(events, Seen.CARD_INSERTED, NAMES[1])
        own_bench.kill_pcscd()
        _until(events, Seen.SERVICE_LOST)
        virtual.remove()
        own_bench.start_pcscd()
        own_bench.insert(Card(personalised()), 1)  # nobody may have looked since
        _until(events, Seen.SERVICE_BACK)
        _until(events, Seen.CARD_REMOVED, NAMES[1])
        again = _until(events, Seen.CARD_INSERTED, NAMES[1])
    assert first.atr == again.atr == virtual.card.atr
