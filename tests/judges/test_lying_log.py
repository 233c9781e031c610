"""A server that lies: each lie fails our verifiers and those that others wrote."""

import subprocess
import threading
from http.client import HTTPConnection

import proofbundle.checkpoint
import proofbundle.merkle
import proofbundle.tlogproof
import pytest

from keyvault import signatures
from keyvault.domain import tree
from keyvault.domain.notes import Checkpoint, Note, NoteError, decode, open_checkpoint
from keyvault.timestamps.client import TimeStampError, checked
from tests.judges.lying import LIES, OLD, LyingLog
from tests.timestamps.conftest import authority


class ForeignError(Exception):
    """What another's program said no to."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    with authority(folder / "1", "own") as own, authority(folder / "2", "other") as other:
        made = LyingLog(own, other)
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()
        made.server_close()


class Reader:
    """An auditor who was here before, at `OLD` leaves, and knows keys and roots out of band."""

    def __init__(self, server, folder):
        self.server, self.folder, log = server, folder, server.log
        self.keys, self.vkey, self.origin = log.keys, log.ed25519.vkey, log.origin
        self.before, self.leaf = log.checkpoint(OLD), log.leaves[7]

    def get(self, path):
        line = HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        line.request("GET", path)
        body = line.getresponse().read()
        line.close()
        return body

    def fetched(self):
        note, data, leaves, at = self.get("/checkpoint"), self.get("/tile/entries/000"), [], 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2])
            leaves.append(data[at + 2 : end])
            at = end
        proof = [bytes.fromhex(line) for line in self.get(f"/consistency/{OLD}").decode().split()]
        return note, leaves, proof

    def believes(self):
        """Our own verifiers. Raises what they raise."""
        note, leaves, proof = self.fetched()
        point = open_checkpoint(note, self.keys, signatures.verify_note)
        demand(point.origin == self.origin, "another log's checkpoint")
        tree.verify_consistency(OLD, point.size, proof, self.before.root, point.root)
        root = tree.root_of([tree.leaf_hash(leaf) for leaf in leaves])
        demand(root == point.root, "the leaves do not lead to the checkpoint")
        head, _, under = self.get("/proof/7.tlog-proof").partition(b"\n\n")
        _, index, *path = head.decode().split("\n")
        demand((index, under) == ("index 7", note), "a proof of something else")
        hashes = [decode(line) for line in path]
        tree.verify_inclusion(tree.leaf_hash(self.leaf), 7, point.size, hashes, point.root)
        checked(self.server.authority, self.get("/tsa"), note)

    def others_believe(self):
        """proofbundle and openssl. Raises `ForeignError`."""
        note, leaves, proof = self.fetched()
        judge = proofbundle.checkpoint
        told = judge.verify_checkpoint(note.decode(), self.vkey)
        said(told["ok"] and told["origin"] == self.origin)
        point = Checkpoint.parse(Note.parse(note).text)
        judge, roots = proofbundle.merkle, (self.before.root, point.root)
        said(point.size >= OLD and judge.verify_consistency(OLD, point.size, proof, *roots))
        said(judge.merkle_tree_hash(leaves) == point.root)
        text = self.get("/proof/7.tlog-proof").decode()
        said(proofbundle.tlogproof.verify_tlog_proof(text, self.leaf, self.vkey)["ok"])
        (self.folder / "reply").write_bytes(self.get("/tsa"))
        (self.folder / "note").write_bytes(note)
        line = ["openssl", "ts", "-verify", "-in", "reply", "-data", "note"]
        line += ["-CAfile", self.server.authority.ca]
        done = subprocess.run(line, cwd=self.folder, capture_output=True, check=False)
        said(done.returncode == 0)


def demand(holds, words):
    if not holds:
        raise tree.ProofError(words)


def said(yes):
    if not yes:
        raise ForeignError


def test_an_honest_log_is_believed_by_all(server, tmp_path):
    server.lie = None
    reader = Reader(server, tmp_path)
    reader.believes()
    reader.others_believe()


@pytest.mark.parametrize("lie", LIES)
def test_no_lie_is_believed_by_us_or_by_others(server, tmp_path, lie):
    server.lie = lie
    reader = Reader(server, tmp_path)
    with pytest.raises((NoteError, tree.ProofError, TimeStampError)):
        reader.believes()
    with pytest.raises((ForeignError, ValueError)):
        reader.others_believe()
