"""APDUs: their bytes by ISO/IEC 7816-3, and what one command costs against any card."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import (
    CardDataError,
    CardMuteError,
    CardObjectMissingError,
    CardRefusedError,
)
from hsm.pcsc.apdu import (
    RESPONSE_LIMIT,
    Channel,
    Command,
    Response,
    StatusWord,
    TransmissionProtocol,
    refusal,
)
from tests.cards.simulator.card import Card
from tests.cards.simulator.in_process import InProcess

T0, T1 = TransmissionProtocol.T0, TransmissionProtocol.T1
ECHO, SIZE, SILENT = 0x10, 0x12, 0x14


class Echo:
    """Gives back what it was sent, or as many bytes as the two parameters say."""

    def reset(self) -> None:
        self.seen: list[bytes] = []

    def execute(self, ins: int, p1: int, p2: int, data: bytes) -> bytes:
        self.seen.append(data)
        return {ECHO: data, SIZE: bytes(p1 << 8 | p2), SILENT: b""}[ins]


class Script:
    """A card that says what it was told to say, then repeats the last of it."""

    protocol = T1

    def __init__(self, *answers: str) -> None:
        self.answers = [bytes.fromhex(answer) for answer in answers]
        self.heard: list[str] = []

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        assert seconds > 0
        self.heard.append(apdu.hex())
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    ("command", "t1", "t0"),
    [
        (Command(1, 2, 3), "00010203", "0001020300"),
        (Command(1, 2, 3, le=256), "0001020300", "0001020300"),
        (Command(1, 2, 3, le=5), "0001020305", "0001020305"),
        (Command(1, 2, 3, b"ab"), "00010203026162", "00010203026162"),
        (Command(1, 2, 3, b"ab", le=256), "0001020302616200", "00010203026162"),
    ],
    ids=["case 1", "case 2", "case 2 short", "case 3", "case 4"],
)
def test_short_commands_have_the_bytes_of_the_standard(command: Command, t1: str, t0: str) -> None:
    assert command.encode(T1).hex() == t1
    assert command.encode(T0).hex() == t0


@pytest.mark.parametrize(
    ("command", "head", "tail"),
    [
        (Command(1, 2, 3, le=65_536), "00010203000000", ""),
        (Command(1, 2, 3, le=300), "0001020300012c", ""),
        (Command(1, 2, 3, b"a" * 256), "00010203000100", "61"),
        (Command(1, 2, 3, b"a" * 256, le=256), "00010203000100", "610100"),
        (Command(1, 2, 3, b"a", le=65_536), "00010203000001", "610000"),
    ],
)
def test_extended_commands_have_the_bytes_of_the_standard(
    command: Command, head: str, tail: str
) -> None:
    encoded = command.encode().hex()
    assert encoded.startswith(head)
    assert encoded.endswith(tail)
    assert len(encoded) // 2 == 7 + len(command.data) + (2 if command.data and command.le else 0)


@given(st.binary(max_size=2000), st.booleans(), st.booleans())
def test_any_data_goes_and_comes_whole_over_t0_and_t1(
    data: bytes, t0: bool, extended: bool
) -> None:
    application = Echo()
    channel = Channel(InProcess(Card(application, t0=t0)), extended=extended)
    response = channel.send(Command(ECHO, 0, 0, data, le=256))
    assert (response.data, response.sw) == (data, 0x9000)
    assert application.seen == [data]


@pytest.mark.parametrize("t0", [False, True])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 12_710])
def test_an_answer_of_any_size_is_fetched(size: int, t0: bool) -> None:
    channel = Channel(InProcess(Card(Echo(), t0=t0)))
    assert channel.send(Command(SIZE, size >> 8, size & 0xFF, b"x", le=256)).data == bytes(size)


def test_a_card_of_short_commands_alone_is_served_by_chaining() -> None:
    card = Card(Echo(), short_only=True)
    assert Channel(InProcess(card)).send(Command(SILENT, 0, 0, bytes(600))).ok
    assert [apdu[0] for apdu in card.log] == [0x10, 0x10, 0x00]


def test_a_chain_ends_at_the_first_no() -> None:
    script = Script("6884")
    assert Channel(script).send(Command(ECHO, 0, 0, bytes(600))).sw == 0x6884
    assert len(script.heard) == 1


def test_a_corrected_length_is_obeyed_once() -> None:
    script = Script("6c02", "abcd9000")
    assert Channel(script).send(Command(1, 0, 0, le=256)).data.hex() == "abcd"
    assert script.heard == ["0001000000", "0001000002"]
    with pytest.raises(CardDataError, match="correcting"):
        Channel(Script("6c02")).send(Command(1, 0, 0, le=256))


@pytest.mark.parametrize(
    ("answer", "commands"), [("6110", 2), ("00" * 256 + "6100", 129), ("aa6101", 32_769)]
)
def test_more_data_without_end_is_refused(answer: str, commands: int) -> None:
    script = Script(answer)
    with pytest.raises(CardDataError):
        Channel(script).send(Command(1, 0, 0, le=256))
    assert len(script.heard) == commands


def test_a_response_has_a_largest_size() -> None:
    at_most = Script(*["00" * 256 + "6100"] * (RESPONSE_LIMIT // 256 - 1), "00" * 256 + "9000")
    assert len(Channel(at_most).send(Command(1, 0, 0, le=256)).data) == RESPONSE_LIMIT


def test_bytes_that_nobody_asked_for_are_refused() -> None:
    with pytest.raises(CardDataError, match="1 bytes came where 0 were asked for"):
        Channel(Script("aa9000")).send(Command(1, 0, 0))


def test_one_deadline_holds_for_all_the_pieces_of_a_command() -> None:
    class Slow(Script):
        def transmit(self, apdu: bytes, seconds: float) -> bytes:
            time.sleep(0.05)
            return super().transmit(apdu, seconds)

    begin = time.monotonic()
    with pytest.raises(CardMuteError):
        Channel(Slow("aa6101"), seconds=0.3).send(Command(1, 0, 0, le=256))
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("word", [word for word in StatusWord if word is not StatusWord.SUCCESS])
def test_every_known_no_is_said_in_words_with_its_number(word: StatusWord) -> None:
    error = refusal(Response(b"", word), "sign")
    assert f"{word:04X}" in str(error)
    assert word.name.lower().replace("_", " ") in str(error)
    assert error.cause == f"{word:04X}"
    missing = word in (StatusWord.NOT_FOUND, StatusWord.REFERENCE_NOT_FOUND)
    assert isinstance(error, CardObjectMissingError) is missing


@given(st.integers(0, 0xFFFF).filter(lambda sw: sw != StatusWord.SUCCESS))
def test_no_status_word_is_without_an_error(sw: int) -> None:
    assert isinstance(refusal(Response(b"", sw), "sign"), CardRefusedError)


def test_a_command_never_shows_its_data() -> None:
    shown = repr(Command(0x20, 0, 0x80, b"123456"))
    assert "123456" not in shown
    assert b"123456".hex() not in shown
    assert "9000" in repr(Response(b"secret", 0x9000))
    assert "secret" not in repr(Response(b"secret", 0x9000))
