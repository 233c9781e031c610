"""What several of the drill's attempts need."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from keyvault.domain.audit import EventType
from keyvault.signatures import SoftwareCredential
from tools import narrated
from tools.attacker import (
    SucceededError,
    no,
)
from tools.narrated import Answer

if TYPE_CHECKING:
    from tools.drill import Drill

AT_ONCE = 32
REFUSED = EventType.GATE_REFUSED  # what tells of a no at a gate's socket
SCOPE = {"party": "acme-energy", "user_role": "IMPORT-SUPPLIER", "user_id": "00-07-81-00-01"}


def own_key() -> SoftwareCredential:
    """A key that nobody has enrolled."""
    return SoftwareCredential(ec.generate_private_key(ec.SECP256R1()))


def own_ec() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def at_gate(
    drill: "Drill", threat: str, tried: str, request: Answer, approvals: list[Answer]
) -> None:
    """Try to have a request carried out at the gate's own socket."""
    call = partial(drill.gate.call, "execute", request["document"], approvals)
    drill.attempt(threat, tried, lambda: no(call), REFUSED, request["id"])


def wrong(drill: "Drill", bundle: Path) -> str:
    """Have the stand-alone verifier find what is wrong, and say where."""
    try:
        said = narrated.verify(drill.story, bundle, holds=False)
    except narrated.StoryError as error:
        raise SucceededError("the verifier believes it") from error
    found = [line.strip() for line in said.splitlines() if "events.ndjson" in line]
    return f"verify.py: {found[-1] if found else said.strip().splitlines()[-1]}"
