"""Further chapters of `make token-demo`: another authority, a chosen PIN, the next master."""

from base64 import b64decode, b64encode

from cli.desk.relaying import relay
from hsm.pcsc.holder import HeldCard
from hsm.pcsc.reader import PcscCard
from tests.authority import Authority
from tests.carding import OWN_PIN, Desk
from tests.cards.bench import NAMES
from tests.cards.simulator.models import MODELS
from tests.certifying import believed
from tests.flows.at_desks import by_commands
from tests.stack import Document, ok
from tools.token_bench import Demo, blank, must, note


def before_holder(demo: Demo, token: Document, **asked: object) -> Document:
    """The card is in harry's own reader, and he types his PIN there."""
    desk, path = Desk(demo.carding.holder.client()), f"/v1/tokens/{token['id']}"
    with PcscCard(NAMES[0]) as transport:
        own = HeldCard(transport, transport.atr, lambda _: OWN_PIN)
        return relay(desk, path, "", own, lambda _: None, dict(asked))


def chosen(demo: Demo, serial: str) -> None:
    """Harry chooses his PIN before he activates the card."""
    ended = before_holder(demo, demo.carding.token(serial), service="choose-pin")
    must(ended["do"] == "done", "harry chose a PIN, and the one that it was sent with is dead")


def by_another_authority(demo: Demo) -> None:
    demo.tell(
        "The IKI certifies a card: requests out, certificate in",
        "The card signs its own request (RSA-2048). In between it lies in the safe.",
    )
    carding, client = demo.carding, demo.carding.issuer.client()
    (job,) = carding.order(carding.allocated("4001"), issuer="iki")
    card, path = blank("4001"), f"/v1/issuing/jobs/{job['id']}"
    virtual = demo.insert(card)
    must(demo.make(job).get("standing") == "awaiting", "the job awaits a certificate")
    demo.pull(virtual)
    request = b64decode(ok(client.get(f"{path}/requests"))["requests"]["9A"])
    (demo.folder / "9a.csr").write_bytes(request)
    said = demo.run("openssl", "req", "-inform", "DER", "-in", "9a.csr", "-verify", "-noout")
    note(f"openssl of the request: {said or 'verified'}")
    iki: Authority = believed(demo.stack.person("bob").client())
    wrong = {"certificates": [b64encode(iki.issue(request, subject=iki.name)).decode()]}
    refused = client.post(f"{path}/certificates", json=wrong).json()
    must(refused["code"] == "certificate-differs", f"for another name: {refused['detail']}")
    right = {"certificates": [b64encode(iki.issue(request)).decode()]}
    ok(client.post(f"{path}/certificates", json=right))
    virtual = demo.insert(card)
    must(demo.make(job).get("standing") == "done", "the same card is finished")
    demo.pull(virtual)


def next_master(demo: Demo) -> None:
    demo.tell(
        "A new master: cards move to it as they come to a desk",
        "The register says who is behind.",
    )
    carding, card = demo.carding, MODELS["yubico"].make()
    card.application.serial = 5001
    token = carding.allocated("5001")
    carding.insert(carding.order(token)[0], card)
    carding.activated("5001", card)
    carding.new_master()
    must(_behind(demo, token), "token 5001 has a management key of an older master")
    virtual = demo.insert(card)
    note("keyvault desk rekey; blocked twice: desk unblock before harry, then at the station")
    by_commands(carding, card, token)
    must(not _behind(demo, token), "rekeyed, unblocked twice, each time with another PUK then")
    demo.pull(virtual)
    _told(demo, token)


def _told(demo: Demo, token: Document) -> None:
    """What an auditor reads of these sessions."""
    client = demo.carding.issuer.client()
    jobs = ok(client.get("/v1/issuing/jobs", params={"limit": 200}))["items"]
    (job,) = [each["id"] for each in jobs if each["token"] == token["id"]]
    kept = ok(client.get(f"/v1/issuing/jobs/{job}/traces"))["items"]
    count = sum(one["exchanges"] for one in kept)
    must(count > 0, f"{count} exchanges of {len(kept)} sessions are kept, without any secret")


def _behind(demo: Demo, token: Document) -> bool:
    found = ok(demo.carding.issuer.client().get("/v1/tokens/concerns"))["items"]
    return any(
        one["concern"] == "key-behind" and one["token"]["id"] == token["id"] for one in found
    )
