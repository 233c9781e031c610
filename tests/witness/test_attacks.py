"""Six ways to rewrite a log whose own key signs whatever it is given. Both makes refuse each."""

from tests.witness.logs import Log


def refused(answer, *statuses):
    status, _, body = answer
    assert status in statuses, answer
    assert not body.startswith("\u2014".encode())  # no signature line leaves


def test_an_honest_log_that_grows_is_cosigned_each_time(witness, log):
    for _ in range(3):
        old = len(log.leaves)
        status, _, line = witness.post(log.grow(5).request(old))
        assert status == 200
        assert line.startswith("\u2014 witness.example/w1 ".encode())


def test_a_rewritten_history_is_refused_and_kept_as_evidence(witness, log):
    before = len(witness.evidence())
    log.leaves[3] = b"it never happened"
    refused(witness.post(log.grow(4).request(8)), 422)
    assert len(witness.evidence()) == before + 1


def test_another_root_for_the_same_size_is_refused_and_kept_as_evidence(witness, log):
    before = len(witness.evidence())
    log.leaves[3] = b"it never happened"
    refused(witness.post(log.request(8)), 422)
    assert len(witness.evidence()) == before + 1


def test_a_truncated_log_is_refused(witness, log):
    """With the old size that the witness knows, with a smaller one, and with none."""
    del log.leaves[5:]
    refused(witness.post(log.request(8)), 400)
    for old in (0, 3, 5):
        status, kind, body = witness.post(log.request(old))
        assert (status, body) == (409, b"8\n")
        assert kind == "text/x.tlog.size"


def test_a_restored_backup_that_grew_again_is_refused(witness, log):
    del log.leaves[5:]
    log.leaves += [b"another %d" % number for number in range(9)]
    refused(witness.post(log.request(8)), 422)
    status, _, body = witness.post(log.request(5))
    assert (status, body) == (409, b"8\n")


def test_a_log_signed_by_a_foreign_key_is_refused(witness, log):
    stranger = Log(origin=log.origin)
    refused(witness.post(stranger.grow().request(8)), 403)


def test_a_checkpoint_under_another_origin_is_refused(witness):
    refused(witness.post(Log(origin="vault.example/elsewhere").request(0)), 404)


def test_a_witness_that_was_restarted_remembers(witness, log):
    witness.restart()
    log.leaves[3] = b"it never happened"
    refused(witness.post(log.grow(4).request(8)), 422)
    assert witness.post(log.request(0))[::2] == (409, b"8\n")
