#!/usr/bin/env python3
"""A credential token from delivery to destruction, with real parts: `make token-demo`.

A whole service, pcscd with a virtual reader, and a simulated card that speaks SP 800-73-4. What the
card can do at the end is judged by OpenSC and OpenSSL. Everything lies in throw-away folders.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock
from uuid import UUID, uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: E402  (as above)

from cli.desk.relaying import relay  # noqa: E402  (as above)
from cli.desk.reporting import watched  # noqa: E402  (as above)
from hsm.pcsc.apdu import Channel  # noqa: E402  (as above)
from hsm.pcsc.credential import PivCredential  # noqa: E402  (as above)
from hsm.pcsc.piv import PivCard, PivSlot  # noqa: E402  (as above)
from hsm.pcsc.piv_issue import change_pin  # noqa: E402  (as above)
from hsm.pcsc.reader import PcscCard  # noqa: E402  (as above)
from hsm.tokens import TokenSlot  # noqa: E402  (as above)
from hsm.usb import UsbReader  # noqa: E402  (as above)
from hsm.usb_holder import HeldToken, UsbKeys  # noqa: E402  (as above)
from keyvault.domain.commands import EnrolCredential  # noqa: E402  (as above)
from keyvault.domain.people import Assurance, Credential, thumbprint  # noqa: E402  (as above)
from keyvault.domain.statements import (  # noqa: E402  (as above)
    Activate,
    Allocate,
    Deliver,
    Destroy,
    Dispatch,
    GiveBack,
    Nominate,
    Signed,
    Statement,
    TakeIn,
)
from keyvault.domain.times import day_text, text_of  # noqa: E402  (as above)
from keyvault.domain.tokens import TokenKind  # noqa: E402  (as above)
from tests import devices  # noqa: E402  (as above)
from tests.callers import Someone  # noqa: E402  (as above)
from tests.carding import OWN_PIN, STATIONS, Carding  # noqa: E402  (as above)
from tests.cards import personalising  # noqa: E402  (as above)
from tests.cards.bench import NAMES, Bench  # noqa: E402  (as above)
from tests.cards.simulator.card import Card  # noqa: E402  (as above)
from tests.cards.simulator.models import MODELS, table_of  # noqa: E402  (as above)
from tests.stack import Document, Stack, in_days, ok  # noqa: E402  (as above)
from tools.token_bench import (  # noqa: E402  (as above)
    STARTED,
    Demo,
    authorities,
    blank,
    chain,
    must,
    note,
    status,
)
from tools.token_further import by_another_authority, chosen, next_master  # noqa: E402  (as above)

MODULE = next(Path("/usr/lib").glob("*-linux-gnu/opensc-pkcs11.so"))
MESSAGE = b"a threshold file\n"


def order(demo: Demo) -> tuple[Card, Document, Document]:
    demo.tell(
        "A card is delivered, and allocated to harry",
        "Two people count the delivery, a senior officer nominates, a registrar has seen his",
        "papers. Each signs a statement; the gate reads them before it certifies anything.",
    )
    token = demo.carding.allocated("1001")
    (job,) = demo.carding.order(token)
    note(f"token {token['id']} is {token['state']}, job {job['id']} is {job['standing']}")
    return blank("1001"), token, job


def personalise(demo: Demo, card: Card, job: Document) -> None:
    demo.tell(
        "Erin puts it into the reader, and somebody pulls it out in the middle",
        "The desk passes APDUs on; the service decides. A pulled card leaves nothing unknown.",
    )
    pulled = personalising.Puller(card, 30, executed=True)
    virtual = demo.insert(pulled)
    ended = demo.make(job)
    must(ended["code"] == "card-removed", f"the desk says: {ended['detail']}")
    demo.pull(virtual)
    note(f"the job is {demo.carding.job(job)['standing']} at {demo.carding.job(job)['step']}")
    killed(demo, card, job)
    again = demo.insert(card)
    ended = demo.make(job)
    must(ended.get("standing") == "done", f"the same card again: {ended.get('guidance', ended)}")
    demo.pull(again)
    must(len(demo.carding.job(job)["certificates"]) == len(job["plan"]), "one certificate a key")


def killed(demo: Demo, card: Card, job: Document) -> None:
    """Pcscd is killed in the middle of the next insertion."""
    demo.tell(
        "pcscd is killed in mid-issue",
        "The desk goes on with the next one, and tells the service how its reader is.",
    )
    gone, ready = (demo.carding.noticed(STATIONS[0], each) for each in ("pcscd-gone", "ready"))

    class Killing(personalising.Puller):
        def process(self, apdu: bytes) -> bytes:
            if self._count == self._at - 1:
                demo.bench.kill_pcscd()
            return super().process(apdu)

    with watched(demo.desk, STATIONS[0], NAMES[0], note):
        ready()
        virtual = demo.insert(Killing(card, 25, executed=True))
        ended = demo.make(job)
        must(ended["do"] == "failed", f"the desk says: {ended['detail']}")
        virtual.remove()
        gone()
        demo.bench.start_pcscd()
        ready()
    note("the service knew of the reader that was gone, and that it is back")


def deliver(demo: Demo, card: Card, job: Document) -> None:
    demo.tell(
        "The PIN is printed by bob, once; the card goes another way and is delivered",
        "Harry signs the receipt, sets a PIN of his own, and signs with the card itself.",
    )
    bob = demo.stack.person("bob")
    mailer = bob.client().post(f"/v1/issuing/jobs/{job['id']}/mailer")
    must(mailer.content.startswith(b"%PDF"), f"a mailer of {len(mailer.content)} bytes of PDF")
    first = card.application.pin.value  # what harry reads on the paper
    hand_over(demo, "1001", "seal 9")
    with PcscCard(NAMES[0]) as transport:
        change_pin(PivCard(Channel(transport)), first, OWN_PIN)
    activate(demo, "1001", NAMES[0])


def activate(demo: Demo, serial: str, reader: str) -> None:
    key = PivCredential.of_card(reader, PivSlot.SIGNATURE, lambda _: OWN_PIN)
    door = ok(demo.stack.client().post("/v1/login/challenges"))
    token = demo.carding.token(serial)
    statement = Statement(
        id=uuid4(),
        origin=door["origin"],
        said=Activate("I keep the card and its PIN apart"),
        token=UUID(token["id"]),
        version=token["version"],
        person="harry",
        credential=thumbprint(key.spki),
        second="bob",
        challenge=door["challenge"],
        at=text_of(datetime.now(UTC)),
    )
    signed = Signed(statement, key.sign(statement.message()))
    ok(demo.carding.holder.client().post("/v1/tokens/statements", json=signed.document()))
    demo.carding.seconds(demo.stack.person("bob"), signed)
    must(demo.carding.token(serial)["state"] == "active", f"token {serial} is active")


def judge(demo: Demo) -> None:
    demo.tell(
        "Programs that we did not write judge the card",
        "OpenSC signs with it; OpenSSL verifies with the certificate, our CRL and OCSP.",
    )
    folder = demo.folder
    (folder / "message").write_bytes(MESSAGE)
    (folder / "digest").write_bytes(hashlib.sha256(MESSAGE).digest())
    login = ["--login", "--pin", OWN_PIN.decode(), "--id", "02"]
    how = ["--sign", "--mechanism", "ECDSA", "--signature-format", "openssl"]
    tool = ("pkcs11-tool", "--module", str(MODULE))
    demo.run(*tool, *login, *how, "-i", "digest", "-o", "sig")
    with PcscCard(NAMES[0]) as transport:
        certificate = PivCard(Channel(transport)).certificate(PivSlot.SIGNATURE)
    (folder / "card.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    public = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(public)
    said = demo.run(
        *("openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "message")
    )
    note(f"pkcs11-tool signed, openssl: {said}")
    authorities(demo)
    note(f"openssl verify with the CRL: {chain(demo)}")
    must("good" in status(demo), "openssl ocsp: good")


def use(demo: Demo) -> None:
    demo.tell(
        "The card's key is enrolled for harry, who logs in with it and approves",
        "He is a key approver from now on: his signature is one of the two that an order takes.",
    )
    stack, pin = demo.stack, lambda _: OWN_PIN
    key = PivCredential.of_card(NAMES[0], PivSlot.SIGNATURE, pin)
    enrolled = Credential(key.spki, Assurance.CARD)
    stack.carry_out(stack.ask(EnrolCredential("harry", enrolled)))
    by_card = Someone(stack, "harry", key)
    who = ok(by_card.client().get("/v1/whoami"))
    note(f"logged in by card: {who.get('id', who)}")
    asked = stack.order(label="to be approved by card")
    decided = ok(by_card.decide(asked))
    must(decided["state"] == "requested" or bool(decided["approvals"]), "harry's approval counts")


def lose(demo: Demo) -> None:
    demo.tell(
        "Harry loses it: he says so himself, and it is revoked",
        "The certificates fall with the same commit.",
    )
    token = demo.carding.token("1001")
    stop = {"step": "report-lost", "reason": "left on a train"}
    ok(demo.carding.holder.client().post(f"/v1/tokens/{token['id']}/stops", json=stop))
    chain(demo, good=False)
    must("revoked" in status(demo), "openssl ocsp: revoked")
    bob = demo.stack.person("bob").client()
    ok(bob.post(f"/v1/tokens/{token['id']}/stops", json={"step": "revoke", "reason": "lost"}))
    must(demo.carding.token("1001")["state"] == "revoked", "token 1001 is revoked")


def replace_it(demo: Demo) -> None:
    demo.tell("It is replaced by a second one, which ends in the shredder later")
    carding = demo.carding
    job = second(demo)
    card = blank("1002")
    virtual = demo.insert(card)
    must(demo.make(job).get("standing") == "done", "the second card is made")
    hand_over(demo, "1002", "seal 2")
    chosen(demo, "1002")
    activate(demo, "1002", NAMES[0])
    note(f"it replaces {carding.token('1002')['replaces']}")
    destroy(demo, card)
    demo.pull(virtual)


def second(demo: Demo) -> Document:
    """A card from delivery to order that is to replace the first."""
    carding, bob = demo.carding, demo.stack.person("bob")
    delivery = TakeIn(TokenKind.PIV_CARD, "a model", "B-2", "a supplier", "seal", "safe", ("1002",))
    carding.says(carding.issuer, delivery, second=carding.witness)
    old = UUID(carding.token("1001")["id"])
    named = Nominate("harry", "opens door 1001", "cct", "lost the first", old)
    nomination = carding.says(carding.senior, named)["statement"]["id"]
    carding.says(bob, Allocate(UUID(nomination), "ID-4711"), carding.token("1002"))
    return carding.order(carding.token("1002"), pin_route="activation")[0]


def hand_over(demo: Demo, serial: str, seal: str) -> None:
    carding, bob = demo.carding, demo.stack.person("bob")
    sent = Dispatch(seal, "courier 12", "Leeds", day_text(in_days(3)))
    carding.says(carding.issuer, sent, carding.token(serial))
    handed = Deliver("passport seen", seal, "Leeds")
    carding.says(bob, handed, carding.token(serial), second=carding.holder)


def destroy(demo: Demo, card: Card) -> None:
    demo.tell("The second one is revoked, given back, wiped, and destroyed before a witness")
    carding, bob = demo.carding, demo.stack.person("bob").client()
    token = carding.token("1002")
    ok(bob.post(f"/v1/tokens/{token['id']}/stops", json={"step": "revoke", "reason": "left"}))
    back = GiveBack("safe 1", "seal 3", "whole")
    carding.says(carding.issuer, back, carding.token("1002"), second=carding.holder)
    ended = carding_wipe(demo, token)
    must(card.application.pin.left == 0, f"wiped: {ended['guidance']}")
    carding.says(
        carding.issuer, Destroy("shredder", "Leeds"), carding.token("1002"), second=carding.witness
    )
    must(carding.token("1002")["state"] == "destroyed", "token 1002 is destroyed")


def carding_wipe(demo: Demo, token: Document) -> Document:
    path = f"/v1/issuing/tokens/{token['id']}"
    with PcscCard(NAMES[0]) as card:
        return relay(demo.desk, path, STATIONS[0], card, lambda _: None, {"service": "wipe"})


def side_by_side(demo: Demo) -> None:
    demo.tell("Two stations make a batch at once, through two readers of pcscd")
    serials = [str(number) for number in range(3001, 3007)]
    tokens = [demo.carding.allocated(serial) for serial in serials]
    jobs = demo.carding.order(*tokens)
    hoppers = [list(zip(serials, jobs, strict=True))[slot::2] for slot in (0, 1)]
    begun = time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda slot: _hopper(demo, hoppers[slot], slot), (0, 1)))
    took = time.monotonic() - begun
    found = ok(demo.carding.issuer.client().get(f"/v1/issuing/batches/{jobs[0]['batch']}"))
    must(
        found["out"] == len(serials),
        f"in {found['tokens']}, out {found['out']}, spoiled {found['spoiled']}",
    )
    note(f"{len(serials) * 60 / took:.0f} cards a minute through the bench, insertions included")


def _hopper(demo: Demo, work: list[tuple[str, Document]], slot: int) -> None:
    for serial, job in work:
        virtual = demo.insert(blank(serial), slot)
        ended = demo.make(job, slot)
        if ended.get("standing") != "done":
            raise SystemExit(f"{serial}: {ended}")
        demo.pull(virtual, slot)


def usb_token(demo: Demo) -> None:
    demo.tell(
        "The same job on a token with a PKCS#11 module (SoftHSM), in processes of its own",
        "It is sent with a PIN that nobody knows; its holder sets their own, and it activates.",
    )
    own, carding = devices.softhsm(demo.folder, "somebody else's"), demo.carding
    token = carding.allocated("USB-1", kind=TokenKind.PKCS11, profile="with-agreement")
    (job,) = carding.order(token, pin_route="activation")
    with mock.patch.dict(os.environ, own.environment):
        ended = carding.insert(job, UsbReader(devices.SOFTHSM))
        must(ended.get("standing") == "done", f"it is {carding.token('USB-1')['state']}")
        carding.delivered("USB-1")
        keys = UsbKeys(devices.SOFTHSM)
        held = HeldToken(devices.SOFTHSM, keys.label, lambda _: OWN_PIN)
        ended = carding.at_home(token, held, service="choose-pin")
        must(ended.get("standing") == "done", "the PIN that it was sent with is dead")
        carding.activate_by("USB-1", keys.credential(TokenSlot.SIGNATURE, lambda: OWN_PIN))
    must(carding.token("USB-1")["state"] == "active", "it signed, and is active")


def sweep(demo: Demo) -> None:
    demo.tell(
        "The sweep: a card is pulled at every APDU of an issue, before and after its execution",
        "In process; each of them has to be finished by the second insertion.",
    )
    for model in ("yubico", "strict-3des-t0"):
        table, done, converged = table_of(model, demo.folder), 0, 0
        for _, _, _, house in personalising.sweep(MODELS[model].make, table):
            done += 1
            converged += house.job.standing == "done" and house.signed == len(house.job.plan)
        must(
            done == converged,
            f"{model}: {converged} of {done} runs converged, one certificate a key",
        )


def tell_all(demo: Demo) -> None:
    card, _, job = order(demo)
    personalise(demo, card, job)
    virtual = demo.insert(card)
    deliver(demo, card, job)
    steps: tuple[Callable[[Demo], None], ...] = (use, lose)
    judge(demo)
    for step in steps:
        step(demo)
    demo.pull(virtual)
    for step in (replace_it, by_another_authority, next_master, side_by_side, usb_token, sweep):
        step(demo)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tokens-") as folder, Bench() as bench:
        print("A service is founded and started, with an authority and a card master …", flush=True)
        with Stack.make() as stack:
            stack.start()
            tell_all(Demo(stack, Carding.on(stack), bench, Path(folder)))
    print(f"\nAll of it held. {time.monotonic() - STARTED:.0f} s", flush=True)


if __name__ == "__main__":
    main()
