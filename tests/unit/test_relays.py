"""Sessions with desks, when a desk's messages reach now this worker and now another."""

import threading
from uuid import uuid4

import pytest

from hsm.errors import CardRemovedError
from hsm.pcsc.apdu import TransmissionProtocol
from hsm.pcsc.relay import Relay
from keyvault.domain.errors import NotFoundError
from keyvault.operations.relays import Relays


@pytest.fixture
def workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("d")  # short: a socket's path has 107 bytes
    pair = Relays(folder), Relays(folder)
    yield pair
    for one in pair:
        one.close()
    assert not list(folder.iterdir())


def echoing(workers, person="erin", about=None):
    """A session in the first worker that asks the card twice and says what it heard."""
    relay = Relay(b"\x3b", TransmissionProtocol.T1, 5.0)
    ended = threading.Event()

    def work(over):
        try:
            heard = [over.transmit(bytes((0, 0xA4, 4, n)), 1.0).hex() for n in range(2)]
        except CardRemovedError:
            ended.set()
            raise
        return {"guidance": " ".join(heard)}

    relay.run(work)
    return workers[0].add(relay, person, about or uuid4()), ended


def test_every_worker_hands_a_desk_s_messages_on_to_the_session(workers):
    session, _ = echoing(workers)
    message, answer = workers[1].get(session, "erin").exchange(None), None
    for worker in (0, 1):
        assert message["do"] == "apdu"
        answer = {"number": message["number"], "response": f"900{worker}"}
        message = workers[worker].get(session, "erin").exchange(answer)
    assert (message["do"], message["guidance"]) == ("done", "9000 9001")
    # The answer to the last message was lost, and the desk asks again, elsewhere.
    assert workers[1].get(session, "erin").exchange(answer) == message


def test_a_stranger_does_not_learn_of_a_session_from_any_worker(workers):
    session, _ = echoing(workers)
    for worker in workers:
        with pytest.raises(NotFoundError):
            worker.get(session, "mallory").exchange(None)
        with pytest.raises(NotFoundError):
            worker.get(uuid4(), "erin")


def test_who_comes_back_through_another_worker_ends_the_session_that_was_left(workers):
    about = uuid4()
    _, ended = echoing(workers, about=about)
    assert workers[1].busy(about, "somebody else")
    assert not workers[1].busy(about, "erin")
    assert ended.wait(30)
    assert not workers[0].busy(about, "somebody else")


def test_what_the_work_raised_arrives_through_another_worker(workers):
    session, _ = echoing(workers)
    line = workers[1].get(session, "erin")
    line.exchange(None)
    line.hang_up()
    with pytest.raises(CardRemovedError):
        line.exchange(None)


def test_a_worker_that_died_leaves_nobody_waiting(workers):
    about = uuid4()
    session, _ = echoing(workers, about=about)
    [path] = workers[0]._folder.iterdir()  # noqa: SLF001  (as a kill leaves it)
    workers[0].close()
    path.touch()
    with pytest.raises(NotFoundError, match="no such session"):
        workers[1].get(session, "erin").exchange(None)
    path.touch()
    assert not workers[1].busy(about, "erin")
