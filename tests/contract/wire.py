"""`wire.py HERE THERE`: a Unix socket that forwards to another; SIGUSR1 cuts every connection.

A process of its own, for python-pkcs11 keeps the GIL while a module finalises.
"""

import signal
import socket
import sys
import threading
from contextlib import suppress

OPEN: list[socket.socket] = []


def cut(*_: object) -> None:
    while OPEN:
        end = OPEN.pop()
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def main(here: str, there: str) -> None:
    signal.signal(signal.SIGUSR1, cut)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(here)
    listener.listen()
    while True:
        near, _ = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(there)
        OPEN.extend((near, far))
        for ends in ((near, far), (far, near)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
