"""Runs pcscd in a network namespace of its own, and hands out connections to its virtual reader.

vpcd, the reader's driver, listens on every address; in here that is no one's but ours, so its
port never collides and nothing shows outside. Started by `bench` as `unshare -rn python netns.py
FOLDER`; it ends, and pcscd and the folder with it, once its standard input does. Each connection to
FOLDER/control says one word: `start` starts pcscd and is told its pid, a port number is given a
TCP connection to that port as a file descriptor.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import NoReturn

SIOCSIFFLAGS = 0x8914
IFF_UP = 1
LISTEN_FD = 3  # the first descriptor of systemd's socket activation, which pcscd honours


def loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def start_pcscd(folder: Path) -> int:
    """A fresh socket each time, held by nobody else: a dead pcscd must refuse, not hang."""
    path = folder / "pcscd.comm"
    path.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        become_pcscd(folder, path)
    return pid


def become_pcscd(folder: Path, path: Path) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    log = os.open(folder / "pcscd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(listener.fileno(), LISTEN_FD)
    os.set_inheritable(LISTEN_FD, True)
    environment = os.environ | {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    program = ["pcscd", "--foreground", "--info", "--config", str(folder / "readers")]
    os.execve("/usr/sbin/pcscd", program, environment)  # noqa: S606 (no input in argv)


def main() -> None:
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # it ends by its input alone
        signal.signal(number, signal.SIG_IGN)
    loopback_up()
    started: list[int] = []
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(folder / "control"))
    control.listen()
    threading.Thread(target=until_input_ends, args=(folder, started), daemon=True).start()
    while True:
        client, _ = control.accept()
        with client:
            word = client.recv(16).decode()
            if word == "start":
                started.append(start_pcscd(folder))
                client.sendall(str(started[-1]).encode())
                continue
            connection = socket.create_connection(("127.0.0.1", int(word)))
            socket.send_fds(client, [b"."], [connection.fileno()])
            connection.close()


def until_input_ends(folder: Path, started: list[int]) -> None:
    sys.stdin.read()
    for pid in started[-1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
