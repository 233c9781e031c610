"""A chapter for stories: three custodians bring a key, each their own component and no more."""

import secrets
import subprocess

from tools import narrated
from tools.narrated import Answer, Story, StoryError, note, openssl

CUSTODIANS = {"erin": "Erin Elm", "frank": "Frank Fir", "grace": "Grace Gum"}
SIZE = 32  # bytes of an AES-256 key
ZEROS = bytes(16)


def three_custodians(story: Story, scope: str) -> Answer:
    """Bring in an AES-256 key by three components, checked with OpenSSL; return its handover.

    The story has its officers logged in. Adds the key's id to its summary as `carried_key`.
    """
    story.tell(
        "Three custodians join, and bring a key by components",
        "The other site sent three sealed bags: none of them says anything about the key. Who",
        "carries a component may not approve the key, and each types at a terminal of their own.",
    )
    narrated.credentials(story, *CUSTODIANS)
    for person, name in CUSTODIANS.items():
        narrated.join(story, person, name, role="key-custodian")
    parts = [secrets.token_bytes(SIZE) for _ in CUSTODIANS]
    whole = bytes(a ^ b ^ c for a, b, c in zip(*parts, strict=True))
    expected = _by_openssl(whole)
    note(f"the letter with the bags says: check value of the whole key, CMAC {expected['cmac']}")
    request = _opened(story, scope, expected["cmac"])
    done = _entered(story, request, parts)
    _judged(story, request, done, [expected, *map(_by_openssl, parts)])
    story.summary["carried_key"] = request
    return done


def _opened(story: Story, scope: str, cmac: str) -> str:
    named = [word for person in CUSTODIANS for word in ("--custodian", person)]
    terms = ("--algorithm", "AES-256", "--usage", "mac", "--check-value", f"cmac:{cmac}")
    words = ("--scope", scope, "--label", "zone master key", *terms, *named)
    asked = story.keyvault("keys", "components", "import", *words, person="alice")
    request = narrated.carry_out(story, asked)
    note("the gate has made a key pair for this handover alone, and signed for it")
    return request


def _entered(story: Story, request: str, parts: list[bytes]) -> Answer:
    story.tell(
        "Each types their own component, without seeing it",
        "Their terminal holds the gate's key against the genesis, and seals the component for it.",
    )
    done: Answer = {}
    first, *_ = CUSTODIANS
    slip = [parts[0].hex(), parts[0][::-1].hex()]
    _enter(story, request, first, slip, refused="component-invalid")
    for person, part in zip(CUSTODIANS, parts, strict=True):
        done = _enter(story, request, person, [part.hex()] * 2)
    if len(done["parts"]) != len(parts) or done["state"] != "done":
        raise StoryError("not every component was taken")
    return done


def _enter(story: Story, request: str, person: str, typed: list[str], refused: str = "") -> Answer:
    words = ("keys", "components", "enter", request, "--component-fd", "0", "--yes")
    lines = "".join(f"{line}\n" for line in typed)
    return story.keyvault(*words, person=person, signers=(person,), refused=refused, typed=lines)


def _judged(story: Story, request: str, done: Answer, known: list[dict[str, str]]) -> None:
    story.tell("OpenSSL agrees with every check value, and the gate has signed what happened")
    for one in done["parts"]:
        values, number = one["check_values"], one["number"]
        if values != known[number]:
            raise StoryError(f"openssl says {known[number]} of component {number}")
        note(f"component {number}, {one['person']}: CMAC {values['cmac']}, ECB {values['ecb']}")
    made = story.keyvault("keys", "show", request, person="bob")
    if made["check_value"] != known[0]["cmac"]:
        raise StoryError(f"the HSM holds another key: {made['check_value']}")
    note(f"the HSM says CMAC {made['check_value']} of the whole key, and so does openssl")
    out = story.folder / "handover.txt"
    words = ("keys", "components", "transcript", request, "--out", str(out))
    story.keyvault(*words, person="bob")
    signed = ["-verify", f"{out}.pem", "-signature", f"{out}.sig", str(out)]
    openssl(["openssl", "dgst", "-sha256", *signed])


def _by_openssl(key: bytes) -> dict[str, str]:
    """Check values that no software of ours has made: CMAC, and the older ECB style."""
    ecb = ["enc", "-aes-256-ecb", "-nopad", "-K", key.hex()]
    cmac = ["mac", "-cipher", "AES-256-CBC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    cmac += ["-in", "/dev/stdin", "CMAC"]
    run = {"cmac": cmac, "ecb": ecb}
    return {
        style: subprocess.run(["openssl", *words], input=ZEROS, capture_output=True, check=True)
        .stdout[:3]
        .hex()
        for style, words in run.items()
    }
