#!/usr/bin/env python3
"""The main job from order to evidence, with real parts, told in plain words: `make demo`.

Everything lies under ./demo, or the folder that is given, and is made afresh. People use the
`keyvault` command as they would at a terminal, but that their passphrases come through a pipe;
the DCC system calls the REST API over mutual TLS; OpenSSL checks the signature, and a
stand-alone program the evidence.
"""

import hashlib
import json
import secrets
import ssl
import sys
import time
import zipfile
from base64 import b64decode, b64encode
from functools import partial
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cli.remote.uses import der_of  # noqa: E402  (the path comes first)
from hsm.types import Algorithm  # noqa: E402  (the path comes first)
from tools import narrated  # noqa: E402  (the path comes first)
from tools.narrated import OFFICERS, Story, StoryError, carry_out, note, openssl  # noqa: E402  (as above)

FOLDER = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / "demo"
SCOPE = "acme-energy/IMPORT-SUPPLIER/00-07-81-00-00-00-00-01"
AUDITOR = ("dora", "Dora Day")
SYSTEM = "dcc-adapter"
PAYLOAD = b"GBCS command 1 for meter 00-DB-12-34-56-78-9A-BC: read the active import register\n"


def credentials(demo: Story) -> None:
    demo.tell(
        "Three officers and an auditor make their own signing keys",
        "Each key is encrypted under a passphrase that only its owner knows.",
    )
    narrated.credentials(demo, *OFFICERS, AUDITOR[0])


def genesis(demo: Story) -> None:
    demo.tell(
        "The genesis ceremony",
        "Two throw-away SoftHSM tokens are made, the service's own keys inside them, and all",
        "three officers read and sign who they are and which rules hold. Nobody can add power",
        "later but by these rules: two others have to sign whatever one asks for.",
    )
    narrated.found(demo)


def serve(demo: Story) -> None:
    demo.tell(
        "The service starts: two gates, recorder, sealer and API, each a process of its own",
        "Only the gates load the HSM's library and know its PIN.",
    )
    narrated.serve(demo)


def login(demo: Story) -> None:
    demo.tell(
        "The officers log in",
        "Each key signs for a short-lived one: no password travels, no token can be stolen.",
    )
    for person in OFFICERS:
        narrated.log_in(demo, person)


def join(demo: Story) -> None:
    demo.tell(
        "Dora joins as auditor, by approval",
        "Who audits holds no other role: grants that must not meet in one person are refused.",
    )
    demo.summary["joiner"] = narrated.join(demo, *AUDITOR)


def order(demo: Story) -> None:
    demo.tell(
        "Alice orders a P-256 signing key",
        f"It is for party, user role and user id {SCOPE}.",
    )
    terms = ("--algorithm", "EC-P256", "--usage", "sign", "--class", "critical")
    label = ("--label", "critical commands to meters")
    asked = demo.keyvault("keys", "order", "--scope", SCOPE, *label, *terms, person="alice")
    demo.summary.update(key=asked["id"], scope=SCOPE, order=asked["id"])
    note(f"request {asked['id']}, check words {asked['check_words']}")


def one_is_not_enough(demo: Story) -> None:
    request = demo.summary["order"]
    demo.tell("One approval is not enough, and the requester's own does not count")
    words = ("approvals", "approve", request, "--yes")
    demo.keyvault(*words, person="alice", signers=("alice",), refused="approval-invalid")
    demo.keyvault(*words, person="bob", signers=("bob",))
    note("bob has signed: one of two")
    demo.keyvault("approvals", "execute", request, "--yes", person="alice", refused="quorum")


def generate(demo: Story) -> None:
    request = demo.summary["order"]
    demo.tell(
        "Carol approves too, and the key is made inside the HSM",
        "The gate checks the two signatures itself before it touches the HSM.",
    )
    demo.keyvault("approvals", "approve", request, "--yes", person="carol", signers=("carol",))
    demo.keyvault("approvals", "execute", request, "--yes", person="alice")
    demo.summary["public_key"] = str(FOLDER / "public-key.pem")
    words = ("keys", "public-key", request, "--out", demo.summary["public_key"])
    demo.keyvault(*words, person="alice")


def activate(demo: Story) -> None:
    demo.tell("The key is activated", "A new key signs nothing before two people say so.")
    words = ("keys", "activate", demo.summary["key"], "--reason", "accepted for use")
    demo.summary["activation"] = carry_out(demo, demo.keyvault(*words, person="alice"))


def enrol(demo: Story) -> None:
    certificate, key = FOLDER / "system" / "client.pem", FOLDER / "system" / "client.key"
    demo.tell(
        "A DCC system makes a key and a certificate, and is enrolled by approval",
        "This very certificate may sign with this very key, and nothing else.",
    )
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "30"]
    openssl([*words, "-subj", f"/CN={SYSTEM}", "-addext", "extendedKeyUsage=clientAuth"])
    rights = ("--action", "key:sign", "--action", "key:read", "--key", demo.summary["key"])
    names = ("--name", "DCC adapter", "--scope", SCOPE, "--certificate", str(certificate))
    asked = demo.keyvault("systems", "enrol", SYSTEM, *names, *rights, person="alice")
    demo.summary.update(enrolment=carry_out(demo, asked), system=SYSTEM)
    demo.summary.update(client_certificate=str(certificate), client_key=str(key))


def call(demo: Story) -> httpx.Response:
    """Ask for a signature as the DCC system does: mutual TLS and one POST."""
    context = ssl.create_default_context(cafile=demo.summary["ca"])
    context.load_cert_chain(demo.summary["client_certificate"], demo.summary["client_key"])
    digest = b64encode(hashlib.sha256(PAYLOAD).digest()).decode()
    path = f"{demo.summary['server']}/v1/keys/{demo.summary['key']}/signatures"
    print(f"   {SYSTEM}> POST {path}\n      {json.dumps({'digest': digest})}", flush=True)
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return client.post(path, json={"digest": digest}, headers=headers)


def sign(demo: Story) -> None:
    demo.tell(
        "The system signs a payload through the API",
        "The answer leaves only after its event is in the log; r and s are then written as DER.",
    )
    answer = call(demo)
    if answer.status_code != httpx.codes.CREATED:
        raise StoryError(f"the API answered {answer.status_code}: {answer.text}")
    body = answer.json()
    raw = b64decode(body["signatures"][0])
    payload, signature = FOLDER / "payload.bin", FOLDER / "signature.der"
    payload.write_bytes(PAYLOAD)
    signature.write_bytes(der_of(raw, Algorithm.EC_P256))
    demo.summary.update(payload=str(payload), signature=str(signature), event=body["event"])
    note(f"signed; event {body['event']['index']} of the log says so")
    check = ["openssl", "dgst", "-sha256", "-verify", demo.summary["public_key"]]
    openssl([*check, "-signature", str(signature), str(payload)])


def suspend(demo: Story) -> None:
    demo.tell(
        "Something looks wrong: Bob suspends the key",
        "Stopping a key is fast and takes one person; letting it go on takes two others.",
    )
    words = ("keys", "suspend", demo.summary["key"], "--reason", "unusual traffic")
    demo.keyvault(*words, person="bob")
    answer = call(demo)
    body = answer.json()
    if answer.status_code != httpx.codes.CONFLICT or body.get("code") != "key-state":
        raise StoryError(f"a suspended key answered {answer.status_code}: {answer.text}")
    note(f"refused, as it must be: {answer.status_code} {body['code']}: {body['detail']}")


def export(demo: Story) -> None:
    demo.tell(
        "Dora, the auditor, exports the evidence and checks it",
        "The verifier is one file that needs Python and OpenSSL, and nothing of ours.",
    )
    out = narrated.export(demo, AUDITOR[0])
    demo.summary.update(evidence=str(out), verifier=str(FOLDER / "verify.py"))
    narrated.verify(demo, out, holds=True)


def tamper(demo: Story) -> None:
    demo.tell(
        "Somebody changes one byte of the evidence",
        "In a copy, the event of the suspension gets another name: first just so, and then with",
        "the ZIP's own checksum put right, as somebody would who knows the format.",
    )
    honest, forged = Path(demo.summary["evidence"]), FOLDER / "evidence-forged.zip"
    with zipfile.ZipFile(honest) as archive:
        files = {info: archive.read(info) for info in archive.infolist()}
    events = next(data for info, data in files.items() if info.filename == "events.ndjson")
    changed = events.replace(b"KEY.SUSPENDED", b"KEY.RUSPENDED", 1)
    forged.write_bytes(honest.read_bytes().replace(events, changed))
    narrated.verify(demo, forged, holds=False)
    with zipfile.ZipFile(forged, "w") as archive:
        for info, data in files.items():
            archive.writestr(info, changed if data is events else data)
    narrated.verify(demo, forged, holds=False)
    demo.summary["forged_evidence"] = str(forged)


def finish(demo: Story) -> None:
    demo.tell("The service stops")
    narrated.stop(demo)
    demo.summary["seconds"] = round(time.monotonic() - demo.started, 1)
    (FOLDER / "summary.json").write_text(json.dumps(demo.summary, indent=2) + "\n")
    note(f"done in {demo.summary['seconds']} s; what was made: demo/summary.json")


STEPS = (
    *(credentials, genesis, serve, login, order, one_is_not_enough, generate, activate),
    *(enrol, sign, suspend, join, export, tamper, finish),
)


def main() -> int:
    """Exit with 0 only if every step ended as it must."""
    demo = Story("demo", FOLDER, narrated.free_port())
    anew = partial(narrated.made_anew, demo, "system")
    return narrated.play(demo, (anew, *(partial(step, demo) for step in STEPS)), httpx.HTTPError)


if __name__ == "__main__":
    sys.exit(main())
