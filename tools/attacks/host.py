"""T6 to T9: attempts of whoever owns the api's host, or what it lets in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from hsm.types import Algorithm, KeyUsage, Mechanism
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import (
    EnrolSystem,
    ImportKey,
    RevokeSystem,
)
from keyvault.domain.keys import service_key_id
from keyvault.domain.times import text_of
from tools.attacker import (
    SucceededError,
    certificate_of,
    done,
    kept_as_files,
    mutations,
    no,
    pem_of,
    turned_away,
)
from tools.attacks.common import AT_ONCE, REFUSED, SCOPE, at_gate, own_ec, own_key

if TYPE_CHECKING:
    from tools.drill import Drill


def credential(drill: "Drill") -> None:
    """T6: a credential of the API is stolen.

    A session's certificate with its key, and those of a system.
    """
    answer, key = drill.people["bob"].log_in(drill.door)
    certificate = done(answer)["certificate"].encode()
    stolen = kept_as_files(drill.story, "stolen", certificate, key)
    closed = stolen.delete("/v1/login/session")
    if not closed.is_success:
        raise ValueError(f"{closed.status_code} {closed.text}")
    look = shown_the_door
    door = EventType.CONNECTION_REFUSED
    drill.attempt("T6", "a session is used after its owner logged out", lambda: look(stolen), door)
    system = ec.generate_private_key(ec.SECP256R1())
    own, others = certificate_of("dcc", system), certificate_of("dcc", system, own_ec())
    enrolled(drill, own)
    good = kept_as_files(drill.story, "dcc", own.public_bytes(Encoding.PEM), pem_of(system))
    done(good.get("/v1/whoami"))
    pem = others.public_bytes(Encoding.PEM)
    wrong = kept_as_files(drill.story, "dcc-other", pem, pem_of(system))
    drill.attempt(
        "T6", "the key of a system with a certificate by another issuer", lambda: look(wrong), door
    )
    drill.carry_out(drill.ask(RevokeSystem("dcc", "its key was stolen"), by="bob"), "bob")
    drill.attempt("T6", "a system's certificate after it was revoked", lambda: look(good), door)


def shown_the_door(client: httpx.Client) -> str:
    """Say how a certificate was refused: in the handshake, or by the first answer."""
    try:
        return turned_away(client.get("/v1/whoami"))
    except httpx.TransportError as error:
        return f"no handshake: {error}"


def enrolled(drill: "Drill", certificate: Any) -> None:
    der = certificate.public_bytes(Encoding.DER)
    until = text_of(datetime.now(UTC) + timedelta(days=20))
    terms = (("key:read", "key:sign"), (drill.keys["signing"],), until)
    drill.carry_out(drill.ask(EnrolSystem("dcc", "DCC adapter", der, der, *terms), SCOPE))


def host(drill: "Drill") -> None:
    """T7: the api's host is taken over.

    Whoever is there speaks to the gate as the api does, and edits what the api stores.
    """
    key, kek = drill.keys["exchange"], drill.keys["kek"]
    export = drill.on_key(key, "exports", kek=kek)
    destroy = drill.on_key(key, "destructions")
    bring_in = drill.ask(
        ImportKey("theirs", Algorithm.AES_256, KeyUsage.ENCRYPT, "standard", 30, 60,
                  UUID(kek), bytes(40)), SCOPE,
    )  # fmt: skip
    for name, request in (("export", export), ("destroy", destroy), ("import", bring_in)):
        at_gate(drill, "T7", f"{name} without any approval", request, [])
        bob, carol = drill.people["bob"], drill.people["carol"]
        forged = [p.approval(request["document"], own_key()) for p in (bob, carol)]
        at_gate(drill, "T7", f"{name} with forged approvals", request, forged)
    other = drill.signed(destroy, "bob", "carol")
    at_gate(drill, "T7", "export with the approvals of another request", export, other)
    resurrected(drill)
    services(drill)


def resurrected(drill: "Drill") -> None:
    """A suspended key is called active in the database, and used over the gate's socket."""
    key = UUID(drill.keys["signing"])
    if drill.sql.read("SELECT state FROM key WHERE id = :id", id=str(key)) != "active":
        drill.carry_out(drill.on_key(str(key), "activations"))
    done(drill.people["bob"].client.post(
        f"/v1/keys/{key}/suspensions", json={"reason": "for the drill"}
    ))  # fmt: skip
    change = "UPDATE key SET state = :state WHERE id = :id"
    drill.sql.run(change, id=str(key), state="active")
    use = ("sign", key.bytes, str(Mechanism.ECDSA), [bytes(32)], "always")
    drill.attempt(
        "T7", "a suspended key is set to active by SQL and used at the gate's socket",
        lambda: no(drill.gate.call, *use), REFUSED, key.bytes.hex(),
    )  # fmt: skip
    drill.sql.run(change, id=str(key), state="suspended")


def services(drill: "Drill") -> None:
    """The service's own keys are asked for something else than their one message."""
    call = drill.gate.call
    for name in ("evidence", "session-ca", "kek", "mac"):
        own = service_key_id(name)
        use = ("sign", own, str(Mechanism.ECDSA), [bytes(32)], "always")
        drill.attempt(
            "T7", f"the service's key {name} is to sign a message of the attacker's",
            lambda use=use: no(call, *use), REFUSED, own.hex(),
        )  # fmt: skip
    bob = drill.people["bob"]
    document, _ = bob.delegation(own_ec())
    forged = own_key().sign(canonical(document))
    drill.attempt(
        "T7", "a session in Bob's name is wanted that Bob did not sign for",
        lambda: no(call, "issue_session", document, forged), REFUSED, '"issue_session"',
    )  # fmt: skip


def swapped(drill: "Drill") -> None:
    """T8: parameters are changed after approval.

    Every field of an approved request, one after the other, at the gate's socket.
    """
    request = drill.order(label="a key that nobody gets")
    approvals = drill.signed(request, "bob", "carol")
    changed = list(mutations(request["document"]))

    def attack() -> str:
        for _, document in changed:
            no(drill.gate.call, "execute", document, approvals)
        return f"{len(changed)} of {len(changed)} fields: refused"

    fields = f"each of the {len(changed)} fields of a request with two good approvals"
    drill.attempt("T8", fields, attack, REFUSED, request["id"])
    for name in ("bob", "carol"):
        done(drill.people[name].approve(request))
    document = {**request["document"], "parameters": {**request["document"]["parameters"]}}
    document["parameters"]["key_class"] = "exchange"
    change = "UPDATE approval_request SET document = :document WHERE id = :id"
    drill.sql.run(change, id=request["id"], document=canonical(document).decode())
    drill.attempt(
        "T8", "an approved order is changed by SQL to a key that may be exported",
        lambda: turned_away(drill.execute(request)), EventType.EXECUTION_REFUSED, request["id"],
    )  # fmt: skip
    honest = canonical(request["document"]).decode()
    drill.sql.run(change, id=request["id"], document=honest)


def again(drill: "Drill") -> None:
    """T9: approvals and requests are used again, and 32 times at once."""
    request = drill.order(label="a key that is made once")
    bob = drill.people["bob"]
    approval = bob.approval(request["document"])
    hand_in = partial(bob.client.post, f"/v1/requests/{request['id']}/approvals", json=approval)
    drill.attempt(
        "T9", f"one approval is handed in {AT_ONCE} times at once",
        lambda: once(hand_in), EventType.APPROVAL_REJECTED, request["id"],
    )  # fmt: skip
    done(drill.people["carol"].approve(request))
    drill.attempt(
        "T9", f"one request is carried out {AT_ONCE} times at once",
        lambda: once(partial(drill.execute, request)),
        EventType.EXECUTION_REFUSED, request["id"],
    )  # fmt: skip
    both = drill.signed(request, "bob", "carol")
    at_gate(drill, "T9", "it is brought to the gate's socket once more", request, both)
    set_back = "UPDATE approval_request SET state = 'approved' WHERE id = :id"
    drill.sql.run(set_back, id=request["id"])
    drill.attempt(
        "T9", "it is set back to approved by SQL and carried out again",
        lambda: turned_away(drill.execute(request)), REFUSED, request["id"],
    )  # fmt: skip
    drill.sql.run("UPDATE approval_request SET state = 'done' WHERE id = :id", id=request["id"])


def once(call: Callable[[], httpx.Response]) -> str:
    """Make a call so often at once: one may succeed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [f.result() for f in [pool.submit(call) for _ in range(AT_ONCE)]]
    good = [answer for answer in answers if answer.is_success]
    if len(good) != 1:
        raise SucceededError(f"it was done {len(good)} times")
    codes = sorted({answer.json()["code"] for answer in answers if not answer.is_success})
    return f"one was done, {AT_ONCE - 1} refused: {', '.join(codes)}"
