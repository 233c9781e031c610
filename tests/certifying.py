"""A custodian and an authority, for tests of certificates on a whole service."""

from base64 import b64decode, b64encode

from tests.authority import Authority
from tests.stack import ok

PATH = "/v1/certificates"
REASON = {"reason": "for a test"}


def believed(bob) -> Authority:
    """An issuing authority that the service believes from now on."""
    root, issuing = Authority.pair()
    for kind, one in (("root", root), ("issuing", issuing)):
        body = {"certificate": text(one.certificate()), "kind": kind}
        ok(bob.post(f"{PATH}/watched", json=body))
    return issuing


def text(data: bytes) -> str:
    return b64encode(data).decode()


def build(bob, *keys: str, **more):
    body = {"profile": "smki-organisation", "items": [{"key": key} for key in keys], **more}
    return ok(bob.post(f"{PATH}/requests", json=body))["items"]


def submitted(bob, key: str) -> tuple[str, bytes]:
    """A request that was sent: its certificate's id, and itself."""
    [built] = build(bob, key)
    made = built["certificate"]
    body = {"certificates": [made["id"]], "reference": "SD-1"}
    ok(bob.post(f"{PATH}/submissions", json=body))
    return made["id"], b64decode(made["csr"])


def answer(bob, *certificates: bytes, **more):
    items = [{"name": f"{at}.cer", "certificate": text(c)} for at, c in enumerate(certificates)]
    return ok(bob.post(f"{PATH}/answers", json={"items": items}, **more))["items"]


def accept(bob, certificate: str):
    body = {"certificates": [certificate], **REASON}
    return ok(bob.post(f"{PATH}/acceptances", json=body))["items"][0]
