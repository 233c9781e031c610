"""Journals of ceremonies: a chain of entries, each signed by those whom the script names."""

from base64 import b64encode
from dataclasses import replace

import pytest

from keyvault import signatures
from keyvault.domain.errors import CeremonyError
from keyvault.domain.journals import (
    Entry,
    Journal,
    Mark,
    Participant,
    Signature,
    Transcript,
    check,
    outcome_of,
)
from keyvault.domain.people import thumbprint
from keyvault.scripts import read_script
from keyvault.signatures import SoftwareCredential

SCRIPT = b"""\
ceremony: two
version: 1
title: Two steps
purpose: to be signed
roles: {one: does it, two: sees it}
steps:
  - {id: see, kind: check, text: look, sign: [one, two]}
  - {id: end, kind: check, text: look again, sign: [two]}
"""
AT = "2026-03-01T09:30:00Z"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return {
        role: SoftwareCredential.create(folder / role, b"passphrase") for role in ("one", "two")
    }


def _signed(entry, people, *roles):
    made = []
    for role in roles:
        unsigned = Signature(role, f"p-{role}", thumbprint(people[role].spki), AT)
        made.append(replace(unsigned, signature=people[role].sign(unsigned.message(entry))))
    return replace(entry, signatures=tuple(made))


def _held(people, *entries):
    """A journal of an opening and these entries: mark, step, who signs."""
    script = read_script(SCRIPT)
    seats = [Participant(role, f"p-{role}", role, key.spki) for role, key in people.items()]
    opening = {
        "ceremony": "0b6cf6a6-0000-4000-8000-000000000000",
        "mode": "run",
        "script_sha256": script.sha256,
        "title": script.title,
        "people": [seat.document() for seat in seats],
    }
    journal = Journal()
    given = ((Mark.OPENED, "", opening, ("one", "two")), *entries)
    for mark, step, details, roles in given:
        entry = journal.next(mark, step, details, AT)
        journal = journal.with_(_signed(entry, people, *roles))
    return journal


SEEN = (Mark.DONE, "see", {}, ("one", "two"))
ENDED = (Mark.DONE, "end", {}, ("two",))
CLOSED = (Mark.CLOSED, "", {"outcome": "completed"}, ("one", "two"))


def _check(journal):
    check(journal, read_script(SCRIPT), signatures.verify)


def test_a_whole_journal_holds_and_becomes_a_transcript(people):
    journal = _held(people, SEEN, ENDED, CLOSED)
    _check(journal)
    assert outcome_of(journal) == "completed"
    transcript = Transcript(SCRIPT.decode(), journal)
    assert Transcript.read(transcript.encoded()) == transcript


def test_a_journal_holds_after_every_entry(people):
    whole = _held(people, SEEN, (Mark.PAUSED, "end", {}, ()), (Mark.RESUMED, "", {}, ()), ENDED)
    for length in range(1, len(whole.entries) + 1):
        _check(Journal(whole.entries[:length]))


def test_a_deviation_settles_a_step_if_those_sign_it_who_would_sign_the_step(people):
    reason = {"reason": "the lamp was out"}
    journal = _held(people, (Mark.DEVIATED, "see", reason, ("one", "two")), ENDED, CLOSED)
    _check(journal)
    assert journal.deviations() == 1
    with pytest.raises(CeremonyError, match="not signed"):
        _check(_held(people, (Mark.DEVIATED, "see", reason, ("one",)), ENDED, CLOSED))


@pytest.mark.parametrize(
    "entries",
    [
        (ENDED, SEEN, CLOSED),  # out of order
        (ENDED, CLOSED),  # a step left out
        (SEEN, SEEN, ENDED, CLOSED),  # a step twice
        (SEEN, CLOSED),  # closed too early
        (SEEN, ENDED, CLOSED, ENDED),  # gone on after its end
        ((Mark.DONE, "see", {}, ("one",)), ENDED, CLOSED),  # a signature is missing
        ((Mark.DONE, "see", {}, ("one", "one")), ENDED, CLOSED),  # one person for two
        ((Mark.DONE, "", {}, ()), SEEN, ENDED, CLOSED),  # done, but what
        (SEEN, ENDED, (Mark.CLOSED, "", {}, ())),  # nobody closed it
        ((Mark.ABORTED, "see", {"reason": "x"}, ()),),  # nobody ended it
    ],
)
def test_a_journal_that_leaves_its_script_is_refused(people, entries):
    with pytest.raises(CeremonyError):
        _check(_held(people, *entries))


def test_an_entry_changed_in_any_field_breaks_the_chain(people):
    journal = _held(people, SEEN, ENDED, CLOSED)
    for at, entry in enumerate(journal.entries):
        document = entry.document()
        for name in ("at", "details", "previous", "step", "number"):
            other = {**document, name: _another(document[name])}
            changed = (*journal.entries[:at], Entry.read(other), *journal.entries[at + 1 :])
            with pytest.raises(CeremonyError):
                _check(Journal(changed))


def _another(value):
    if isinstance(value, dict):
        return {**value, "more": "x"}
    if isinstance(value, int):
        return value + 1
    return "2026-03-01T09:30:01Z" if value == AT else f"{value}0"


def test_a_signature_of_another_key_or_entry_is_refused(people):
    journal = _held(people, SEEN, ENDED, CLOSED)
    seen = journal.entries[1]
    swapped = [replace(one, signature=seen.signatures[0].signature) for one in seen.signatures]
    changed = replace(seen, signatures=tuple(swapped))
    with pytest.raises(CeremonyError):
        _check(Journal((journal.entries[0], changed)))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {**d, "more": 1},
        lambda d: {**d, "number": "1"},
        lambda d: {**d, "mark": "danced"},
        lambda d: {**d, "at": "yesterday"},
        lambda d: {**d, "details": 3},
        lambda d: {**d, "signatures": [{"role": "one"}]},
        lambda d: {**d, "signatures": [{**d["signatures"][0], "signature": "***"}]},
        lambda d: {k: v for k, v in d.items() if k != "previous"},
    ],
)
def test_what_is_no_entry_is_refused(people, change):
    document = _held(people, SEEN).entries[1].document()
    with pytest.raises(CeremonyError):
        Entry.read(change(document))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"x" * 300_000, b64encode(b"x" * 99)])
def test_what_is_no_transcript_is_refused(data):
    with pytest.raises(CeremonyError):
        Transcript.read(data)
