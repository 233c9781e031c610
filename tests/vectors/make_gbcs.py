"""Makes gbcs.json: `python tests/vectors/make_gbcs.py > tests/vectors/gbcs.json`.

It shares no code with the product and none with the library that the product uses: P-256 and
GHASH are worked out here, SHA-256 is Python's, and one block of AES is asked of `openssl enc`.
The private keys are hashes of their names; they are real for nobody.
"""

import hashlib
import json
import subprocess
import sys
from functools import lru_cache

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
US, METER = "90B3D51F30010000", "00DB1234567890A0"
KINDS = {"command": 1, "response": 2, "alert": 3, "encryption": 4}
Point = tuple[int, int]


def plus(a: Point | None, b: Point | None) -> Point | None:
    """Add two points of P-256; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(number: int, point: Point) -> Point:
    total: Point | None = None
    addend: Point | None = point
    while number:
        if number & 1:
            total = plus(total, addend)
        addend = plus(addend, addend)
        number >>= 1
    assert total is not None
    return total


def scalar(name: str) -> int:
    """The private key of this name."""
    return int.from_bytes(hashlib.sha256(f"keyvault-tests {name}".encode()).digest()) % N


def spki(private: int) -> bytes:
    x, y = times(private, G)
    return SPKI + x.to_bytes(32) + y.to_bytes(32)


PUBLISHED = scalar("published key")  # its fingerprint stands in keyvault/gate/published-keys.txt


@lru_cache(maxsize=256)
def aes(key: bytes, block: bytes) -> bytes:
    line = ["openssl", "enc", "-aes-128-ecb", "-nopad", "-K", key.hex()]
    return subprocess.run(line, input=block, capture_output=True, check=True).stdout


def ghash(key: bytes, data: bytes) -> int:
    """SP 800-38D, 6.4: the field's bits are counted from the left."""
    h, y = int.from_bytes(aes(key, bytes(16))), 0
    for at in range(0, len(data), 16):
        y ^= int.from_bytes(data[at : at + 16])
        product, factor = 0, h
        for bit in range(127, -1, -1):
            if y >> bit & 1:
                product ^= factor
            factor = factor >> 1 ^ (0xE1 << 120 if factor & 1 else 0)
        y = product
    return y


def gcm(key: bytes, iv: bytes, text: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Ciphertext, and the tag of 16 bytes. The IV has 12."""
    ciphertext = b""
    for at in range(0, len(text), 16):
        stream = aes(key, iv + (2 + at // 16).to_bytes(4))
        ciphertext += bytes(a ^ b for a, b in zip(text[at : at + 16], stream, strict=False))
    filled = [part + bytes(-len(part) % 16) for part in (aad, ciphertext)]
    lengths = (8 * len(aad)).to_bytes(8) + (8 * len(ciphertext)).to_bytes(8)
    mask = int.from_bytes(aes(key, iv + (1).to_bytes(4)))
    return ciphertext, (ghash(key, b"".join(filled) + lengths) ^ mask).to_bytes(16)


def vector(kind: str, number: int, text: bytes, aad: bytes) -> dict[str, str]:
    """One message: commands are ours, responses and alerts the meter's."""
    ours, theirs = scalar("our key"), scalar(f"meter {number % 3}")
    outgoing = kind in ("command", "encryption")
    originator, recipient = (US, METER) if outgoing else (METER, US)
    counter = number.to_bytes(8)
    z = times(ours, times(theirs, G))[0].to_bytes(32)
    info = bytes.fromhex(f"60857406080300{originator}09{KINDS[kind]:02X}")
    info += counter + bytes.fromhex(recipient)
    key = hashlib.sha256((1).to_bytes(4) + z + info).digest()[:16]
    ciphertext, tag = gcm(key, bytes.fromhex(originator) + bytes(4), text, aad)
    return {
        "kind": kind,
        "originator": originator,
        "recipient": recipient,
        "counter": counter.hex().upper(),
        "private": f"{ours:064x}",
        "peer_private": f"{theirs:064x}",
        "peer": spki(theirs).hex(),
        "z": z.hex(),
        "other_info": info.hex(),
        "key": key.hex(),
        "plaintext": text.hex(),
        "aad": aad.hex(),
        "ciphertext": ciphertext.hex(),
        "tag": tag.hex(),
    }


def vectors() -> list[dict[str, str]]:
    header = bytes.fromhex("110000000000")
    made = []
    for at, kind in enumerate(3 * list(KINDS)):
        number = (1, 0x0123456789ABCDEF, 0x400000000)[at // 4] + at
        text = bytes(range(23 * (at // 4))) if kind == "encryption" else b""
        aad = b"\x31" if kind == "encryption" else header + hashlib.sha256(kind.encode()).digest()
        made.append(vector(kind, number, text, aad))
    return made


def main() -> None:
    json.dump(vectors(), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
