"""What commands of the desk do to a finished card, and what is kept of a job: for the flows."""

import subprocess
import sys
from hashlib import sha256
from uuid import uuid4

from hsm.pcsc.reader import wait_for_card
from keyvault.domain.people import Role
from tests.assessor import exported
from tests.callers import Someone
from tests.carding import OWN_PIN, STATIONS, Carding
from tests.cards.bench import NAMES, Bench
from tests.cards.simulator.card import Card
from tests.evidence.built import PROGRAM
from tests.stack import PASSPHRASE, Document, ok
from tests.surface.desk import Desk


def logged_in(carding: Carding, person: Someone) -> Desk:
    """The person's own command line."""
    stack = carding.stack
    desk = Desk(stack.folder, person.id, stack.folder / f"{person.id}.key", PASSPHRASE.decode())
    assert desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis).status == 0
    return desk


def inserted(carding: Carding, card: Card, token: Document) -> None:
    """As below, in a reader of its own."""
    with Bench() as bench:
        bench.insert(card)
        assert wait_for_card(NAMES[0], seconds=10)
        by_commands(carding, card, token)


def by_commands(carding: Carding, card: Card, token: Document) -> None:
    """Rekeyed, unblocked before its holder, another PUK, unblocked at a station: processes."""
    issuer, holder = (logged_in(carding, each) for each in (carding.issuer, carding.holder))
    applet, at, serial = card.application, ("--station", STATIONS[0]), token["serial"]

    def done(desk: Desk, *words: str, typed: str = "") -> None:
        ended = desk.keyvault("desk", *words, "--reader", NAMES[0], "--json", typed=typed)
        assert ended.status == 0, ended.err

    before = applet.management_key
    done(issuer, "rekey", token["id"], *at)
    assert applet.management_key != before
    for desk, where in ((holder, ()), (issuer, at)):
        used, applet.pin.left = applet.puk.value, 0
        carding.stop(serial, "block-pin")
        words = ("unblock", token["id"], "--release", carding.released(serial), *where)
        done(desk, *words, "--passphrase-fd", "0", typed=f"{OWN_PIN.decode()}\n")
        assert (applet.pin.value, applet.pin.left) == (OWN_PIN, applet.pin.limit)
        assert (applet.puk.value == used) is (not where)
        done(issuer, "rotate-puk", token["id"], *at)
        assert applet.puk.value != used


def bound_to_the_log(carding: Carding, job: Document, desk: Desk) -> None:
    """Each stop names the card's last word, and each session the text that an auditor gets."""
    auditor = carding.stack.register(f"auditor-{uuid4().hex[:8]}", Role.AUDITOR).client()
    query = {"stream": f"token:{job['token']}", "limit": 200}
    events = ok(auditor.get("/v1/audit/events", params=query))["items"]
    told = [one["payload"] for one in events if "trace" in (one["payload"] or {})]
    stops = [one for one in told if "last" in one]
    assert {(one["code"], one["last"]["error"]) for one in stops} == {("card-removed",) * 2}
    assert all(one["last"]["instruction"] for one in stops)
    path = f"/v1/issuing/jobs/{job['id']}/traces"
    kept = ok(auditor.get(path))["items"]
    assert len(kept) == len(stops) + 1
    for one in kept:
        text = auditor.get(f"/v1/issuing/traces/{one['session']}").content
        bound = [each["trace"] for each in told if each["trace"]["session"] == one["session"]]
        assert one["sha256"] in {each["sha256"] for each in bound}
        lines = text.splitlines(keepends=True)
        for each in bound:
            until_then = b"".join(lines[: each["exchanges"] + 1])
            assert sha256(until_then).hexdigest() == each["sha256"]
    assert carding.holder.client().get(path).json()["code"] == "not-permitted"
    folder = desk.session.parent / f"traces-{job['id']}"
    sessions = desk.ask("issuing", "trace", job["id"], "--out", str(folder))["sessions"]
    assert [len(one["exchanges"]) for one in sessions] == [one["exchanges"] for one in kept]
    files = sorted(folder.iterdir())
    assert {sha256(one.read_bytes()).hexdigest() for one in files} == {e["sha256"] for e in kept}
    line = [sys.executable, "-I", PROGRAM, exported(carding.stack)]
    line += [f"--trace={one}" for one in files]
    checked = subprocess.run(line, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("is the trace that the log names: event") == len(files)
