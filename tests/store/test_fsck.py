"""The whole log is read again: whatever was changed long ago, though it was sealed, is found."""

from shutil import copyfile

import pytest

from keyvault.operations.fsck import Found, read_again
from keyvault.shadow import BrokenLogError
from tests.store.tampering import tamper
from tests.witness.sealed import opened


@pytest.fixture
def log(tmp_path, sqlite_template):
    copyfile(sqlite_template, tmp_path / "log.db")
    with opened(f"sqlite:///{tmp_path / 'log.db'}") as made:
        made.seal(5)
        made.seal(300)
        made.seal(5)
        yield made


def read(log):
    found = Found()
    with log.database.reading() as reading:
        read_again(reading, log.keys.keys, log.origin, found)
    return found


def test_a_log_that_nobody_changed_is_read_to_its_end(log):
    found = read(log)
    assert (found.size, found.checkpoints, found.tiles, found.erased) == (310, 3, 1, 0)
    with log.database.reading() as reading:
        assert found.root == reading.audit.head().root.hex()


LEAF = "UPDATE event SET leaf = (SELECT leaf FROM event WHERE idx = 3) WHERE idx = 7"
BOTH = LEAF.replace(
    " WHERE idx = 7", ", leaf_hash = (SELECT leaf_hash FROM event WHERE idx = 3) WHERE idx = 7"
)
NOTE = "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 305) WHERE size = 5"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (LEAF, "event 7 was changed"),
        (BOTH, "event 7 is filed"),
        ("UPDATE event SET stream = 'key:9' WHERE idx = 1", "event 1 is filed"),
        ("UPDATE event_payload SET payload = salt WHERE idx = 2", "payload of event 2"),
        ("DELETE FROM event WHERE idx = 0", "event 0 is missing"),
        ("UPDATE tile SET hashes = zeroblob(8192)", "tile 0 of level 0"),
        (NOTE, "5 was signed for another"),
        (
            "UPDATE checkpoint SET note = replace(note, '310', '311') WHERE size = 310",
            "310 does not",
        ),
        ("UPDATE log_head SET size = 309", "do not lead to the head"),
    ],
)
def test_what_was_changed_after_it_was_sealed_is_found(log, change, complaint):
    tamper(log.url, change)
    with pytest.raises(BrokenLogError, match=complaint):
        read(log)


def test_an_erased_payload_is_counted_and_nothing_is_wrong(log):
    tamper(log.url, "UPDATE event_payload SET salt = NULL, payload = NULL WHERE idx = 4")
    assert read(log).erased == 1
