"""Policies: one syntax, read the same by the service and by the stand-alone verifier."""

from itertools import chain, combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault import signatures
from keyvault.domain.notes import Note, NoteError, SignatureType, VerifierKey
from keyvault.domain.policy import Policy, PolicyError, shown
from tests.evidence.built import verify
from tests.witness.cosigners import NOW, Cosigner, policy_of, two_of
from tests.witness.logs import Log

W = [Cosigner(name) for name in ("w1", "w2", "w3", "w4", "w5")]
LOG = Log()
EXAMPLE = policy_of(
    "# the example of the specification, with keys",
    f"log {LOG.ed25519.vkey} https://log.example/",
    "",
    *(one.policy() for one in W),
    "\tgroup X-witnesses 2  w1 w2 w3 ",
    "group Y-witnesses any w4 w5",
    "group X-and-Y all X-witnesses Y-witnesses",
    "quorum X-and-Y",
)


def subsets(names):
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


def test_the_example_of_the_specification_means_what_it_says_to_both_readers():
    ours, theirs = Policy.parse(EXAMPLE), verify.Policy(EXAMPLE)
    for names in subsets([one.name for one in W]):
        wanted = len({"w1", "w2", "w3"} & set(names)) >= 2 and bool({"w4", "w5"} & set(names))
        assert ours.holds(names) is wanted
        assert bool(theirs.holds(theirs.quorum, dict.fromkeys(names, NOW))) is wanted
    assert ours.fewest == 3
    assert [log.url for log in ours.logs] == ["https://log.example/"]


def test_a_quorum_may_be_one_witness_or_none():
    one = Policy.parse(policy_of(W[0].policy("http://127.0.0.1:1/"), "quorum w1"))
    assert one.holds(["w1"])
    assert not one.holds(["w2"])
    none = Policy.parse(b"quorum none\n")
    assert none.holds([])
    assert (none.asks, none.fewest, one.fewest) == (False, 0, 1)
    assert verify.Policy(b"quorum none\n").holds("none", {})


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("quorum",),
        ("quorum w1",),
        ("quorum none", "quorum none"),
        (W[0].policy(), "quorum w1 w1"),
        (W[0].policy(), W[0].policy(), "quorum w1"),
        (W[0].policy(), f"witness other {W[0].key.vkey}", "quorum w1"),
        (f"witness none {W[0].key.vkey}", "quorum none"),
        ("witness w1 nonsense", "quorum none"),
        ("witness w1", "quorum none"),
        (f"witness w1 {LOG.ed25519.vkey}", "quorum w1"),
        (f"log {W[0].key.vkey}", "quorum none"),
        (W[0].policy(), "group g 0 w1", "quorum g"),
        (W[0].policy(), "group g 2 w1", "quorum g"),
        (W[0].policy(), "group g -1 w1", "quorum g"),
        (W[0].policy(), "group g some w1", "quorum g"),
        (W[0].policy(), "group g all", "quorum g"),
        (W[0].policy(), "group g any none", "quorum g"),
        (W[0].policy(), "group g any g", "quorum g"),
        (W[0].policy(), "group w1 any w1", "quorum w1"),
        (W[0].policy(), "group g 2 w1 w1", "quorum g"),
        (W[0].policy(), "group g any w1", "group h any w1", "quorum h"),
        ("group g any w1", W[0].policy(), "quorum g"),
        ("Quorum none",),
        ("quorum none\r",),
        ("quorum\u00a0none",),
    ],
)
def test_what_the_syntax_does_not_allow_is_refused_by_both_readers(lines):
    text = policy_of(*lines)
    with pytest.raises(PolicyError):
        Policy.parse(text)
    report = verify.Report()
    with report.step("a policy", ""):
        if lines[:1] != (f"log {W[0].key.vkey}",):  # the verifier reads log keys when it needs them
            verify.Policy(text)
            pytest.fail("the verifier took it")
        verify.log_key(W[0].key.vkey)
    assert report.exit == 1


def test_a_policy_ends_in_a_newline_and_is_not_endless():
    for text in (b"quorum none", b"quorum none\n" + b"#" * 70_000 + b"\n", b""):
        with pytest.raises(PolicyError):
            Policy.parse(text)
    many = [Cosigner(f"w{n}").policy() for n in range(33)]
    Policy.parse(policy_of(*many[:32], "quorum none"))
    with pytest.raises(PolicyError, match="over 32"):
        Policy.parse(policy_of(*many, "quorum none"))


def test_names_are_bytes_that_nobody_interprets():
    text = (
        b"witness \xff\xe2\x84\xaa "
        + W[0].key.vkey.encode()
        + b"\n# \xfe\nquorum \xff\xe2\x84\xaa\n"
    )
    policy = Policy.parse(text)
    (name,) = policy.witnesses
    assert shown(name) == "\\udcff\\u212a"
    assert policy.holds([name])
    assert verify.Policy(text).holds(name, {name: NOW})


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_policy_or_refused(data):
    for text in (data, data + b"\n", b"quorum none\n" + data + b"\n"):
        try:
            Policy.parse(text)
        except PolicyError as error:
            assert str(error)  # noqa: PT017  (it may also be one)


def test_cosigners_are_told_with_their_times_and_strangers_passed_over():
    policy = Policy.parse(two_of(*W[:3]))
    note = LOG.note()
    full = note + W[0].line(note) + W[2].line(note, NOW + 5) + W[4].line(note)
    found = policy.cosigners(Note.parse(full), signatures.verify_note)
    assert found == {"w1": NOW, "w3": NOW + 5}


def test_a_wrong_line_of_a_known_witness_is_an_error():
    policy = Policy.parse(two_of(*W[:3]))
    note, other = LOG.note(), LOG.note(3)
    with pytest.raises(NoteError, match="witness w1 is wrong"):
        policy.cosigners(Note.parse(note + W[0].line(other)), signatures.verify_note)
    impostor = Cosigner("w1")
    impostor.key = VerifierKey(
        W[0].key.name,
        SignatureType.COSIGNATURE,
        Ed25519PrivateKey.generate().public_key().public_bytes_raw(),
    )
    forged = note + impostor.line(note)
    assert policy.cosigners(Note.parse(forged), signatures.verify_note) == {}
