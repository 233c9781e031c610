"""How an office hears that it is time to leave."""

import sys
import threading

from keyvault.office import Stop


def test_a_signal_may_come_at_any_line_of_a_wait():
    """An event of `threading` has its lock at some of them, and its handler would wait for ever."""
    stop = Stop()

    def handler(*_: object) -> object:
        stop.set()
        return handler

    before = sys.gettrace()
    sys.settrace(handler)
    try:
        stop.wait(0.01)
    finally:
        sys.settrace(before)
    assert stop.is_set()


def test_whoever_waits_hears_of_it_and_it_stays_said():
    stop = Stop()
    heard = []
    threads = [threading.Thread(target=lambda: heard.append(stop.wait(60))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not stop.wait(0.01)
    for _ in range(100_000):  # more than a pipe takes
        stop.set()
    for thread in threads:
        thread.join(60)
    assert heard == [True] * 3
    assert stop.is_set()
