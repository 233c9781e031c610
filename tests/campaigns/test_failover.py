"""Three hosts, three gates and one PostgreSQL: each process is killed in turn, under load.

What an answer said stays true, every answer has its event, and service comes back by itself.
"""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from keyvault.bootstrap import build
from keyvault.domain.tree import leaf_hash, root_of
from tests.assessor import assert_evidence_holds, assert_verifies
from tests.databases import PostgreSQL, prepare, start
from tests.stack import ROOT, SYSTEM_ACTIONS, Machine, Stack, free_port

CALLERS = 2  # of each host
UNDER_WAY = 0.3  # seconds until the answers that were on their way have come
CALM = 1.0  # seconds of load between two deaths
PATIENCE = 90.0  # seconds until a host has to answer again
DURABLE = ("-c", "fsync=on")  # the later of two words about a setting counts
# What a caller may meet while somebody dies: to be tried again, never a lie.
REFUSALS = {409, 429, 500, 502, 503}
# What each host runs. The first has two gates, the others share one; the sealers share the log's.
HOSTS = (
    ("gate", "gate-2", "log-gate", "recorder", "sealer", "clerk", "api"),
    ("gate", "recorder", "sealer", "clerk", "api"),
    ("recorder", "sealer", "clerk", "api"),
)


class Server:
    """A PostgreSQL of this campaign's own, that may be killed and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.folder.chmod(0o755)
        prepare(self.folder)
        self.server: PostgreSQL
        self.server, self._process = start(self.folder, *DURABLE)
        self.server.run("CREATE DATABASE many")

    def kill(self) -> None:
        """End it as a power cut would, with all its processes, and start it again."""
        for pid in (*_children(self._process.pid), self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        (self.folder / "data" / "postmaster.pid").unlink()
        self.server, self._process = start(self.folder, *DURABLE)

    def close(self) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)
        shutil.rmtree(self.folder)


class Host:
    """One host: its settings, its supervisor, and what runs under it."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.number, self.names = number, HOSTS[number]
        self.port = free_port() if number else stack.settings.api.port
        self.config = stack.config.with_name(f"host-{number}.toml")
        self._log = stack.folder / f"host-{number}.log"
        gate = f"keys-{1 if number else 0}.sock"
        workers = f"[keys]\nworkers = {sum(name.startswith('gate') for name in self.names) or 1}\n"
        self.config.write_text(
            stack.config.read_text()
            .replace(f"port = {stack.settings.api.port}", f"port = {self.port}")
            .replace(f'node = "{stack.settings.node}"', f'node = "host-{number}"')
            .replace("keys.sock", gate)
            .replace("[keys]\n", workers)
            .replace("recorder.sock", f"recorder-{number}.sock")
        )
        self.start()

    def start(self) -> None:
        """Start it and wait until everything of it is ready."""
        line = [sys.executable, "-m", "tests.campaigns.host", self.config, *self.names]
        self._log.write_bytes(b"")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(line, stderr=log, cwd=ROOT)
        until = time.monotonic() + PATIENCE
        while "\nready\n" not in f"\n{self._log.read_text()}":
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """Kill one service of it, with the processes that it started."""
        for pid in _children(self.process.pid):
            if _service(pid) == name:
                for each in (pid, *_children(pid)):
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)

    def kill_whole(self) -> None:
        """As a power cut would end it; then it boots."""
        below = [p for child in _children(self.process.pid) for p in (child, *_children(child))]
        for pid in (self.process.pid, *below):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.start()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@dataclass
class Load:
    """Callers of every host, who note what they were told."""

    stack: Stack
    key: str
    system: Machine
    told: list[tuple[int, str, bytes, str]] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    served: Counter[int] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _calls: list[Future[None]] = field(default_factory=list)

    @contextmanager
    def on(self, hosts: list[Host]) -> Iterator[None]:
        """Call all the time; raise what a caller should not have met."""
        with ThreadPoolExecutor(len(hosts) * CALLERS) as pool:
            self._calls = [pool.submit(self._call, host) for host in hosts * CALLERS]
            try:
                yield
            finally:
                self._stop.set()
            for call in self._calls:
                call.result()

    def _call(self, host: Host) -> None:
        client = self.stack.client(self.system.certificate, self.system.key)
        client.base_url, client.timeout = httpx.URL(f"https://127.0.0.1:{host.port}"), 10
        while not self._stop.is_set():
            digest = secrets.token_bytes(32)
            body = {"digest": base64.b64encode(digest).decode()}
            try:
                answer = client.post(f"/v1/keys/{self.key}/signatures", json=body)
            except httpx.TransportError as error:
                self._missed(type(error).__name__)
                continue
            if answer.status_code == httpx.codes.CREATED:
                self._note(host, digest, answer.json())
                continue
            assert answer.status_code in REFUSALS, answer.text
            self._missed(answer.json()["code"])

    def _missed(self, why: str) -> None:
        self.count[why] += 1
        time.sleep(0.05)

    def _note(self, host: Host, digest: bytes, said: dict) -> None:
        event = said["event"]
        self.told.append((event["index"], event["leaf_hash"], digest, said["signatures"][0]))
        self.served[host.number] += 1

    def until_all_answer(self, hosts: list[Host], death: float) -> float:
        """Wait until every host has served once more; return the seconds since `death`."""
        time.sleep(UNDER_WAY)
        before = self.served.copy()
        while any(self.served[h.number] <= before[h.number] for h in hosts):
            late = time.monotonic() - death > PATIENCE
            ended = [call.exception() for call in self._calls if call.done()]
            assert not ended, ended
            assert not late, (before, self.served, self.count)
            time.sleep(0.02)
        return time.monotonic() - death


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(each) for each in path.read_text().split()] if path.exists() else []


def _service(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    name = words[words.index("-m") + 1].rpartition(".")[2] if "-m" in words else ""
    if name == "gate" and words[-3:-1] == ["--worker", "2"]:
        return "gate-2"
    return {"server": "api", "gate": "log-gate" if "log" in words else "gate"}.get(name, name)


def check(stack: Stack, load: Load) -> int:
    """Hold every answer against the log and its tree; return how many events there are."""
    vault = build(stack.settings)
    with vault.database.reading() as work:
        head = work.audit.head()
        events = list(work.audit.events(0, head.size))
    vault.close()
    assert [event.index for event in events] == list(range(head.size))
    assert root_of([leaf_hash(event.leaf) for event in events]) == head.root
    assert len({index for index, *_ in load.told}) == len(load.told)
    for index, leaf, digest, signature in load.told:
        assert events[index].leaf_hash.hex() == leaf
        detail = json.loads(events[index].payload)
        assert detail["digest"] == sha256(digest).hexdigest()
        assert detail["result_sha256"] == sha256(base64.b64decode(signature)).hexdigest()
    assert_verifies(stack, load.key, [(digest, said) for *_, digest, said in load.told])
    return head.size


def deaths(hosts: list[Host], server: Server) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every process of every host, then every host as a whole, then the database."""
    for host in hosts:
        for name in host.names:
            yield f"{name}-{host.number}", partial(host.kill, name)
        yield f"host-{host.number}", host.kill_whole
    yield "postgresql", server.kill


@pytest.mark.soak
def test_three_hosts_and_three_gates_lose_nothing_when_each_process_is_killed_in_turn():
    with ExitStack() as running:
        server = Server()
        running.callback(server.close)
        stack = running.enter_context(Stack.make(server.server.url("many")))
        hosts = [Host(stack, number) for number in range(len(HOSTS))]
        for host in hosts:
            running.callback(host.close)
        key = stack.active_key()
        load = Load(stack, key, stack.system("dcc-1", *SYSTEM_ACTIONS))
        back: dict[str, float] = {}
        with load.on(hosts):
            load.until_all_answer(hosts, time.monotonic())
            for name, kill in deaths(hosts, server):
                death = time.monotonic()
                kill()
                back[name] = round(load.until_all_answer(hosts, death), 2)
                time.sleep(CALM)
        size = check(stack, load)
        assert_evidence_holds(stack)
        print(  # noqa: T201  (the counts that the campaign is for)
            f"{len(back)} deaths, {len(load.told)} signatures acknowledged ({dict(load.served)}), "
            f"{size} events, none lost or doubled; calls that saw a death: {dict(load.count)}; "
            f"seconds until all served again: {back}"
        )
