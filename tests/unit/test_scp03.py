"""SCP03 against what a real card answered, as the project pySim (osmocom.org) recorded it.

One session at level 33 for each size of AES: INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, then five
commands, with data and without, the first with its answer.
"""

from dataclasses import dataclass, field

import pytest

from hsm.errors import CardDataError, IntegrityError
from hsm.pcsc.apdu import Command, Response
from hsm.pcsc.scp03 import SecureChannel, StaticKeys, check_value, session_keys

KEYS = [bytes(range(start, start + 16)) for start in (0x00, 0x10, 0x20)]
EID = bytes.fromhex("bf3e125a1089882119900000000000000000000005")
PLAIN = (
    Command(0xE2, 0x91, 0x00, bytes.fromhex("bf3e035c015a"), cla=0x80),
    Command(0xF2, 0x20, 0x02, cla=0x80),
    Command(0xCA, 0x00, 0x66, cla=0x80),
    Command(0xF2, 0x20, 0x02, bytes.fromhex("4f0212345c054f9f70c5"), cla=0x80),
    Command(0xF2, 0x80, 0x02, bytes.fromhex("4f00"), cla=0x80),
)


@dataclass
class Recorded:
    """What went over the wire, without Le: the host's challenge, and each command in its turn."""

    challenge: str
    updated: str
    sent: list[str]
    eid: str


RECORDED = {
    16: Recorded(
        "fdf38259a1e0de44",
        "000000000000000000003003703b1aca81e821f219081cdc01c26b372d000003",
        [
            "84823300108c36f96bcc00724a4e13ad591d7da3f0",
            "84e2910018267a85dfe4a98fca6fb0527e0dfecce4914e40401433c87f",
            "84f2200208ac6a59024bed84cc",
            "84ca006608409912ad8fb7aed0",
            "84f22002185f3dafc3ac14c381536a488bf44e06d056df9d74dbd21e5a",
            "84f280021865165105be3373347d0424d4400af2ac393f569ec779389e",
        ],
        "f3ba2b1013aa6224f5e1c138d71805c569e5439b47576260b75fc021b25097cb2e68f8a0144975b9",
    ),
    24: Recorded(
        "9b3f2eef0e8c9374",
        "00000000000000000000310370f6bb305a15bae1a68f79fb08212fbed7000002",
        [
            "84823300109100bc22d58b45b86a26365ce39ff3cf",
            "84e29100188f7f946c84f70d17994bc6e8791251bb1bb1bf02cf8de589",
            "84f2200208d5d97754b6b3d2ba",
            "84ca006608516c82b8e30adbeb",
            "84f2200218cc247f4761e6944277a4e0d6e32e44025b1e31537e2fc668",
            "84f2800218ba22b63d509bef5d093b43e5eaed03ed23144ab2d9cb51de",
        ],
        "c05176c1b6f72aae50c32cbee63b0e95998928fd4dfb2be9f27ffde8c8476f5909b4805cc4039599",
    ),
    32: Recorded(
        "97b2055fe58599fd",
        "00000000000000000000320370a8439a22cedf045fa9f1903b2834f26e000002",
        [
            "8482330010508a0fd959d2e547c6b33154a6be2057",
            "84e29100187a5ef717eaf1e135ae92fe54429d0e465decda65f5fe5aea",
            "84f2200208bcc5c17275545d93",
            "84ca00660804806aba9d543bb6",
            "84f2200218717222491556ec81a45f49ce48be33320024801a1c4cb0e0",
            "84f2800218561f105bccd3a1642904b251ccc1228beb80a82370a8637000",
        ],
        "ea90dbfa648a67c5eb6abc57f8530b97d0cd5647c5e8732016b55203b078dd2ace7f8bc5d1c1cd99",
    ),
}


@dataclass
class Then:
    """The keys of that card, with the challenge that was drawn then."""

    size: int
    version: int = 0x30

    def challenge(self):
        return bytes.fromhex(RECORDED[self.size].challenge)

    def session(self, challenge, cryptogram):
        keys = StaticKeys(*((key + key)[: self.size] for key in KEYS))
        return session_keys(keys, self.challenge() + challenge, cryptogram)


@dataclass
class Replaying:
    """Answers as that card did, whatever is asked; `sent` is what was asked."""

    answers: list[Response]
    sent: list[str] = field(default_factory=list)

    def send(self, command, _=None):
        self.sent.append(Command.encode(command).hex()[: 10 + 2 * len(command.data)])
        return self.answers.pop(0)

    def reset(self):
        raise AssertionError


def session(size, *, eid=None, sw=0x9000):
    recorded = RECORDED[size]
    answers = [recorded.updated, "", recorded.eid if eid is None else eid]
    words = 0x9000, 0x9000, sw
    card = Replaying([Response(bytes.fromhex(a), w) for a, w in zip(answers, words, strict=True)])
    return card, SecureChannel(card, Then(size))


@pytest.mark.parametrize("size", RECORDED)
def test_a_session_of_a_real_card_is_spoken_to_the_byte(size):
    card, secure = session(size)
    assert secure.send(PLAIN[0]) == Response(EID, 0x9000)
    card.answers += [Response(b"", 0x6A88)] * 4  # what it answered to these nobody wrote down
    for command in PLAIN[1:]:
        assert secure.send(command) == Response(b"", 0x6A88)
    wanted = [line[: 10 + 2 * int(line[8:10], 16)] for line in RECORDED[size].sent]
    assert card.sent[1:] == wanted


def test_key_check_values_are_those_that_others_compute():
    assert [check_value(key).hex() for key in KEYS] == ["c35280", "013808", "840de5"]


@pytest.mark.parametrize(
    ("eid", "sw"),
    [
        ("00" * 40, 0x9000),
        (RECORDED[16].eid[:-2], 0x9000),  # cut off
        (RECORDED[16].eid[-16:], 0x9000),  # its MAC alone
        ("", 0x9000),
        ("", 0x63C2),  # "a wrong PIN", which nobody vouches for
        (RECORDED[16].eid, 0x6282),  # another status word
    ],
)
def test_an_answer_that_is_not_the_card_s_closes_the_channel_for_good(eid, sw):
    card, secure = session(16, eid=eid, sw=sw)
    with pytest.raises(CardDataError, match="MAC is wrong"):
        secure.send(PLAIN[0])
    with pytest.raises(CardDataError, match="was closed"):
        secure.send(PLAIN[1])
    assert len(card.sent) == 3


def test_a_card_without_the_keys_is_told_nothing_more():
    card, secure = session(16)
    at = 2 * 21
    changed = f"{RECORDED[16].updated[:at]}00{RECORDED[16].updated[at + 2 :]}"
    card.answers[0] = Response(bytes.fromhex(changed), 0x9000)
    with pytest.raises(IntegrityError, match="cryptogram"):
        secure.send(PLAIN[0])
    assert len(card.sent) == 1


@pytest.mark.parametrize("info", ["300203", "300371", "300270"])
def test_another_protocol_than_scp03_with_eight_bytes_is_not_spoken(info):
    card, secure = session(16)
    changed = RECORDED[16].updated[:20] + info + RECORDED[16].updated[26:]
    card.answers[0] = Response(bytes.fromhex(changed), 0x9000)
    with pytest.raises(CardDataError, match="another secure channel"):
        secure.send(PLAIN[0])
