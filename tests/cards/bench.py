"""A PC/SC bench of its own: pcscd on a private socket, with one virtual reader of two slots."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cards.simulator import netns
from tests.cards.simulator.vpcd import CardSide, VirtualCard

PORT = 36_865
DRIVER = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
READERS = f"""FRIENDLYNAME "Bench"
DEVICENAME   /dev/null:{PORT}
LIBPATH      {DRIVER}
CHANNELID    {PORT}
"""
NAMES = ("Bench 00 00", "Bench 00 01")
READY = b"daemon ready"
PATIENCE = 15.0  # seconds
SOCKET_VARIABLE = "PCSCLITE_CSOCK_NAME"


class Bench:
    """A context manager. Inside it, this process and its children speak to this pcscd alone."""

    def __enter__(self) -> Self:
        # Not pytest's own folder: the path of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="bench"))
        (self.folder / "readers").mkdir()
        (self.folder / "readers" / "bench").write_text(READERS)
        program = ["unshare", "-rn", sys.executable, netns.__file__, str(self.folder)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE)
        self._cards: list[VirtualCard] = []
        self._before = os.environ.get(SOCKET_VARIABLE)
        os.environ[SOCKET_VARIABLE] = str(self.folder / "pcscd.comm")
        try:
            _until((self.folder / "control").exists, "a network namespace (unshare -rn)")
            self.start_pcscd()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for card in self._cards:
            card.remove()
        self._process.communicate(timeout=PATIENCE)
        if self._before is None:
            del os.environ[SOCKET_VARIABLE]
        else:
            os.environ[SOCKET_VARIABLE] = self._before

    def start_pcscd(self) -> None:
        log = self.folder / "pcscd.log"
        log.unlink(missing_ok=True)
        with self._asked("start") as control:
            self.pid = int(control.recv(16))
        _until(lambda: log.exists() and READY in log.read_bytes(), "pcscd")
        self._descriptors = self._open_descriptors()

    def kill_pcscd(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        _until(lambda: not Path(f"/proc/{self.pid}").exists(), "pcscd's end")

    def freeze_pcscd(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw_pcscd(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def until_a_client_has_come(self) -> None:
        """To a pcscd that had none when it was ready."""
        _until(lambda: self._open_descriptors() > self._descriptors, "a client of pcscd")

    def _open_descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def insert(self, card: CardSide, slot: int = 0) -> VirtualCard:
        """Put a card in; whoever needs it there waits for the reader to say so."""
        virtual = VirtualCard(card, lambda: self._connection(PORT + slot))
        virtual.insert()
        self._cards.append(virtual)
        return virtual

    def until_removed(self, slot: int) -> None:
        """Until pcscd's own poll has missed the card. Its state says so earlier after a failed
        command, and a card that is put in between is then never noticed.
        """
        name = NAMES[slot].encode()

        def done() -> bool:
            log = (self.folder / "pcscd.log").read_bytes()
            return log.count(b"Card Removed From " + name) == log.count(
                b"Card inserted into " + name
            )

        _until(done, f"the card's removal from {NAMES[slot]}")

    def _connection(self, port: int) -> socket.socket:
        with self._asked(str(port)) as control:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        return socket.socket(fileno=descriptors[0])

    def _asked(self, word: str) -> socket.socket:
        control = socket.socket(socket.AF_UNIX)
        control.settimeout(PATIENCE)
        control.connect(str(self.folder / "control"))
        control.sendall(word.encode())
        return control


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the bench waited in vain for {what}")
        time.sleep(0.02)
