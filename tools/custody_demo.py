#!/usr/bin/env python3
"""Custody of keys from order to certified destruction, with real parts: `make custody-demo`.

Everything lies under ./custody-demo and is made afresh. One key goes through all nine verbs,
another through suspension, compromise, replacement and destruction. Then come components, a backup
that is restored into a second token, a printed ceremony, reconciling, the registers, and
certification requests. What is told of some of these stands in a module of its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from keyvault.domain import pem  # noqa: E402  (the path comes first)
from tests.authority import Authority  # noqa: E402  (as above)
from tools import custody_backup, custody_ceremony, narrated  # noqa: E402  (as above)
from tools.components import three_custodians  # noqa: E402  (as above)
from tools.custody_large import large_register, requests  # noqa: E402  (as above)
from tools.narrated import Answer, Story, StoryError, carry_out, note, openssl  # noqa: E402  (as above)

SCOPE = "ACME/IS/90-B3-D5-1F-30-01-00-00"
TERMS = ("--algorithm", "EC-P256", "--usage", "sign", "--class", "standard")
NINE = (
    *("ordered", "generated", "registered", "labelled", "distributed", "installed"),
    *("renewed", "superseded", "destroyed"),
)
AUDITOR = ("dora", "Dora Day")


def found(story: Story) -> None:
    story.tell(
        "A service is founded by three officers, and starts",
        "Alice answers for keys; Bob and Carol keep them. Nobody may do both.",
    )
    narrated.credentials(story, *narrated.OFFICERS, AUDITOR[0])
    narrated.found(story)
    narrated.serve(story)
    for person in narrated.OFFICERS:
        narrated.log_in(story, person)


def order(story: Story, label: str, *more: str) -> str:
    """Let alice order a key and the others approve; return its id."""
    words = ("keys", "order", "--scope", SCOPE, "--label", label, *TERMS, *more)
    return carry_out(story, story.keyvault(*words, person="alice"))


def act(story: Story, *words: str) -> None:
    """Ask for an act on a key as alice, and carry it out."""
    carry_out(story, story.keyvault("keys", *words, person="alice"))


def activate(story: Story, key: str) -> None:
    act(story, "activate", key, "--reason", "accepted for use")


def certified(story: Story, authority: Authority, key: str) -> str:
    """Take one certificate of a key from its request to its acceptance; return its id."""
    place = story.folder / f"{key[:8]}-{len(list(story.folder.glob('*.csr')))}"
    request, answer = place.with_suffix(".csr"), place.with_suffix(".cer")
    made = story.keyvault("certificates", "csr", key, "--out", str(request), person="bob")
    openssl(["openssl", "req", "-verify", "-noout", "-in", str(request)])
    certificate = str(made["id"])
    sent = ("certificates", "submit", certificate, "--reference", "SD-4711")
    [pace] = story.keyvault(*sent, person="bob")["pace"]
    note(f"at the authority's pace: {pace['alone_left']} more may go alone today")
    answer.write_bytes(authority.issue(pem.der_of(request.read_bytes(), pem.REQUEST)))
    story.keyvault("certificates", "response", str(answer), person="bob")
    words = ("certificates", "accept", certificate, "--reason", "as requested", "--yes")
    story.keyvault(*words, person="bob")
    return certificate


def believed(story: Story) -> Authority:
    """An authority of this demo, whose certificates the service believes from now on."""
    root, issuing = Authority.pair()
    for kind, one in (("root", root), ("issuing", issuing)):
        file = story.folder / f"{kind}.der"
        file.write_bytes(one.certificate())
        story.keyvault("certificates", "watch", str(file), "--kind", kind, "--yes", person="bob")
    return issuing


def brought(story: Story, key: str) -> None:
    """Record how a key was labelled, sent and installed."""
    label = ("--text", "ACME-17", "--place", "safe 2, Leeds")
    story.keyvault("keys", "label", key, *label, person="bob")
    way = ("--to", "head-end-1", "--channel", "courier", "--reference", "B-9")
    story.keyvault("keys", "distributed", key, *way, person="bob")
    story.keyvault("keys", "installed", key, "--to", "head-end-1", person="alice")


def nine_verbs(story: Story) -> None:
    story.tell(
        "One key through all nine verbs",
        "Ordered, generated, registered, labelled, distributed, installed, renewed, superseded and",
        "destroyed: each is a command, an event, and a field of the register.",
    )
    authority = believed(story)
    key = order(story, "meters of the north", "--need", "signs commands to meters")
    brought(story, key)
    first = certified(story, authority, key)
    activate(story, key)
    second = certified(story, authority, key)
    renewal = ("--certificate", second, "--reason", "yearly")
    story.keyvault("keys", "renewed", key, *renewal, person="bob")
    successor = order(story, "meters of the north, next", "--supersedes", key)
    activate(story, successor)
    why = ("--reason", "its key is superseded", "--yes")
    for certificate in (first, second):
        story.keyvault("certificates", "revoke", certificate, *why, person="bob")
    act(story, "destroy", key, "--reason", "its time is over", "--yes")
    end(story, key)
    lived(story, key)


def lived(story: Story, key: str) -> None:
    """Read the life of a key, draw it, and see that no verb is missing."""
    life = story.folder / "life.svg"
    told = story.keyvault("keys", "life", key, "--svg", str(life), person="alice")
    missing = [verb for verb in NINE if not told["verbs"].get(verb)]
    if missing:
        raise StoryError(f"the life of the key lacks: {', '.join(missing)}")
    story.summary.update(nine_verbs={verb: told["verbs"][verb] for verb in NINE}, life=str(life))
    note(f"all nine verbs stand in the life of {key}; its picture is {life.name}")


def end(story: Story, key: str) -> None:
    """Fetch the certificate of a key's destruction, and have OpenSSL check its signature."""
    out = story.folder / f"destroyed-{key[:8]}.txt"
    words = ("keys", "destruction-certificate", key, "--out", str(out))
    story.keyvault(*words, person="bob")
    check = ["openssl", "dgst", "-sha256", "-verify", f"{out}.pem", "-signature", f"{out}.sig"]
    openssl([*check, str(out)])


def compromise(story: Story) -> None:
    story.tell(
        "Another key through suspension, compromise, replacement and destruction",
        "One custodian alone stops it. It cannot be undone, and the clock runs.",
    )
    key = order(story, "meters of the south")
    activate(story, key)
    sealed = story.keyvault("emergency", "seal", person="bob")["code"]
    without_token(story, key, str(sealed))
    reason = ("--reason", "the host was broken into", "--yes")
    story.keyvault("keys", "compromise", key, *reason, person="carol")
    for body in ("dcc", "pma", "ssc"):
        draft = str(story.folder / f"notice-{body}.txt")
        words = ("keys", "compromise-notice", key, "--to", body, "--out", draft)
        story.keyvault(*words, person="bob")
        sent = ("keys", "notice-sent", key, "--to", body, "--reference", "INC-77")
        story.keyvault(*sent, person="bob")
    successor = order(story, "meters of the south, new", "--supersedes", key)
    activate(story, successor)
    case = story.keyvault("keys", "compromise-case", key, person="bob")
    if not case["replaced"] or case["owed"]:
        raise StoryError(f"the case is not settled: {case}")
    act(story, "destroy", key, "--reason", "replaced", "--yes")
    end(story, key)
    story.summary["compromised"] = {"key": key, "successor": successor}


def without_token(story: Story, key: str, code: str) -> None:
    """Suspend a key as bob, who has no token at hand, by the code that he had sealed."""
    story.passphrases["envelope"] = code
    where = ("--server", story.summary["server"], "--ca", story.summary["ca"])
    words = ("emergency", "suspend", key, *where, "--reason", "my card is gone")
    story.keyvault(*words, signers=("envelope",))
    again = story.keyvault(*words, signers=("envelope",), refused="not-authenticated")
    note(f"a sealed code stops one key once: {again['code']}")


def wrapping(story: Story) -> None:
    """Rotate the service's wrapping key, bring what rests under it under the next, destroy it."""
    story.tell(
        "The wrapping key of the service is rotated",
        "Keys that rest in the database go under the next one; then the old one is destroyed.",
    )
    words = ("--label", "one of many meters", *TERMS[:-1], "bulk")
    key = carry_out(
        story, story.keyvault("keys", "order", "--scope", SCOPE, *words, person="alice")
    )
    asked = story.keyvault("keks", "rotate", "--reason", "yearly", person="alice")
    carry_out(story, asked)
    moved = story.keyvault("keks", "rewrap", person="bob")
    if (moved["left"], moved["failed"]) != (0, []):
        raise StoryError(f"not every key is under the next wrapping key: {moved}")
    retired = ("keks", "retire", "1", "--reason", "nothing rests under it", "--yes")
    carry_out(story, story.keyvault(*retired, person="alice"))
    activate(story, key)
    story.summary["rewrapped"] = moved["done"]


def reconcile(story: Story) -> None:
    story.tell(
        "Register and tokens are held against each other, and Carol signs the report",
        "Every key of the register, and every object that is really on the two tokens.",
    )
    report = story.keyvault("reconciliations", "take", person="bob")
    if report["findings"]:
        raise StoryError(f"something differs: {report['report']['findings']}")
    one = str(report["id"])
    story.keyvault("reconciliations", "sign", one, "--yes", person="carol", signers=("carol",))
    paper = str(story.folder / "reconciliation.pdf")
    story.keyvault("reconciliations", "print", one, "--out", paper, person="bob")
    story.summary["reconciliation"] = {"id": one, "sha256": report["sha256"], "paper": paper}
    note(f"{report['report']['keys']} keys, nothing differs; signed and printed: {paper}")


def registers(story: Story) -> None:
    story.tell("The asset registers, what waits for Bob, and what ends when")
    for name in ("keys", "modules", "people", "certificates", "shares", "backups"):
        out = str(story.folder / f"{name}.csv")
        story.keyvault("registers", "export", name, "--out", out, person="bob")
    tasks = story.keyvault("duties", "mine", person="bob")["items"]
    note(f"{len(tasks)} things wait for bob, such as: {tasks[0]['what'] if tasks else 'none'}")
    chart = str(story.folder / "forecast.svg")
    story.keyvault("keys", "forecast", "--svg", chart, person="alice")


def evidence(story: Story) -> None:
    story.tell(
        "Dora joins as auditor, takes the evidence of it all, and checks it",
        "The verifier is one file that needs Python and OpenSSL, and nothing of ours.",
    )
    narrated.join(story, *AUDITOR)
    narrated.verify(story, narrated.export(story, AUDITOR[0]), holds=True)


def components(story: Story) -> None:
    """Three custodians bring a key, each one component."""
    three_custodians(story, SCOPE)


def backup(story: Story) -> None:
    """A backup is restored into a second token, and used."""
    custody_backup.restored(story, SCOPE)


def finish(story: Story) -> None:
    story.tell("The service stops")
    narrated.stop(story)


STEPS = (
    *(found, nine_verbs, compromise, components, backup, custody_ceremony.play, wrapping),
    *(reconcile, registers, evidence, finish),
)


def told(story: Story, steps: list[Callable[[], object]]) -> int:
    """Play everything; the summary is there whether or not it ends well."""
    status = narrated.play(story, steps)
    summary: Answer = {**story.summary, "ok": status == 0}
    summary["seconds"] = round(time.monotonic() - story.started, 1)
    (story.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{'done' if status == 0 else 'FAILED'} in {summary['seconds']} s", flush=True)
    return status


def main() -> int:
    """Exit with 0 only if every step ended as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "custody-demo")
    parser.add_argument("--csrs", type=int, default=500, help="50000 takes half an hour")
    parser.add_argument("--rows", type=int, default=100_000, help="keys of the large register")
    options = parser.parse_args()
    story = Story("custody-demo", options.folder.resolve(), narrated.free_port())
    steps: list[Callable[[], object]] = [partial(narrated.made_anew, story)]
    steps += [partial(step, story) for step in STEPS]
    steps += [partial(large_register, story, options.rows), partial(requests, story, options.csrs)]
    return told(story, steps)


if __name__ == "__main__":
    sys.exit(main())
