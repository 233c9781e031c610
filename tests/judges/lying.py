"""A log server that lies on demand, each lie as somebody with the log's own key could tell it.

It speaks the resource names of c2sp.org/tlog-tiles (`checkpoint`, `tile/entries/N`) and, beside
them, `proof/N.tlog-proof`, `consistency/OLD` and `tsa`.
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from keyvault.domain.notes import Checkpoint, tlog_proof
from keyvault.domain.tree import consistency_proof, inclusion_proof
from keyvault.timestamps.client import ask
from tests.witness.logs import Log

OLD, SIZE = 37, 100  # leaves when the reader was here before, and now
LIES = ("split view", "dropped leaf", "wrong index", "stale note", "forged stamp", "other origin")


class LyingLog(ThreadingHTTPServer):
    """Serves an honest log until it is given a `lie`."""

    daemon_threads = True

    def __init__(self, authority, stranger):
        super().__init__(("127.0.0.1", 0), Handler)
        self.log, self.lie, self.notes = Log(leaves=SIZE), None, {}
        self.authority, self.stranger = authority, stranger
        self.other = Log(leaves=SIZE)  # the same key signs what it is given
        self.other.leaves[3] = b"it never happened"

    @property
    def shown(self):
        return self.other if self.lie == "split view" else self.log

    def answer(self, path):
        kind, _, name = path.strip("/").partition("/")
        return getattr(self, f"_{kind}")(name)

    def _checkpoint(self, _):
        if self.lie not in self.notes:  # an honest log signs a size once
            self.notes[self.lie] = self._signed()
        return self.notes[self.lie]

    def _signed(self):
        point = self.shown.checkpoint(OLD - 5 if self.lie == "stale note" else SIZE)
        if self.lie == "other origin":
            point = Checkpoint("vault.example/elsewhere", point.size, point.root)
        return self.log.signed(point)

    def _tile(self, _):
        leaves = list(self.shown.leaves)
        if self.lie == "dropped leaf":
            del leaves[50]
        return b"".join(len(leaf).to_bytes(2) + leaf for leaf in leaves)

    def _proof(self, name):
        index = int(name.partition(".")[0]) + (self.lie == "wrong index")
        read = self.shown.read()
        return tlog_proof(index, inclusion_proof(read, index, SIZE), self._checkpoint(""))

    def _consistency(self, old):
        proof = consistency_proof(self.shown.read(), int(old), SIZE)
        return "\n".join(node.hex() for node in proof).encode()

    def _tsa(self, _):
        who = self.stranger if self.lie == "forged stamp" else self.authority
        return ask(who, self._checkpoint("")).reply


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.answer(self.path)
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
