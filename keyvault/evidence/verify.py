#!/usr/bin/env python3
"""Check an evidence bundle of a key vault, on any machine, without the help of its makers.

    python3 verify.py evidence.zip [--genesis-sha256 HEX] [--log-key VKEY] [--policy FILE]
                                   [--state FILE] [--standing] [--json]

It needs Python 3.8 and OpenSSL 3 or later, and opens no network connection.
Exit status: 0 everything holds, 1 the evidence is wrong, 2 it could not be checked.
"""

# One file on purpose: an auditor carries it to a bare machine and reads it in one sitting.
from __future__ import annotations

import argparse
import base64
import calendar
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple  # noqa: UP035 - older Python wants it

MAX_BUNDLE = 1 << 30  # bytes
MAX_LINE = 1 << 20  # bytes
LEEWAY = 60  # seconds that clocks may differ; the log refuses events beyond it
EVENTS, AUTHORITY, LEAVES = "events.ndjson", "authority.ndjson", "leaf-hashes.bin"
NEWEST, PREVIOUS = "checkpoints/newest.note", "checkpoints/previous.note"
POLICY = "checkpoints/policy"
REQUIRED = {"README.txt", "VERIFY.txt", "verify.py", "manifest.json", "manifest.sig"} | {
    *("custody.json", "range.proof", "checkpoints/keys", EVENTS, AUTHORITY, LEAVES, NEWEST)
}
OPTIONAL = re.compile(
    r"checkpoints/(previous\.note|consistency\.proof|policy)|tsa/[a-z0-9.-]{1,80}"
    r"|proofs/(0|[1-9][0-9]{0,18})\.tlog-proof"
)
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
ED25519 = bytes.fromhex("302a300506032b6570032100")
HASH_SIZE = 32  # bytes, SHA-256
ECDSA = 2  # signature type of c2sp.org/signed-note; 1 is Ed25519
COSIGNATURE = 4  # of c2sp.org/tlog-cosignature, by Ed25519 as well
MIN_APPROVALS = 2
HEADER = {"v", "ev", "ty", "out", "op", "st", "ks", "ac", "as", "ro", "sc", "n", "bo", "ns"} | {
    *("t", "tm", "cp", "pv")
}
ACTS = {
    "KEY.GENERATED": "generate-key",
    "KEY.IMPORTED": "import-key",
    "KEY.EXPORTED": "export-key",
    "KEY.ACTIVATED": "activate-key",
    "KEY.RESUMED": "resume-key",
    "KEY.DEACTIVATED": "deactivate-key",
    "KEY.DESTROYED": "destroy-key",
    "KEY.USE_ALLOWED": "allow-use",
    "KEY.HOLD_LIFTED": "lift-hold",
}
BIRTHS = ("generate-key", "import-key")
# After one of these a key must not be used until its life goes on.
IDLE = ("KEY.GENERATED", "KEY.IMPORTED", "KEY.SUSPENDED", "KEY.COMPROMISE_DECLARED")
WITHHELD, UNASKED = (
    "matches the filter but is withheld",
    "is disclosed but does not match the filter",
)
OTHER_RULE = "the request quotes another rule than the one in force"
VERDICTS = ("the evidence holds", "THE EVIDENCE IS WRONG", "the evidence could not be checked")
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error)


class Wrong(Exception):  # noqa: N818 - a finding, not a fault of this program
    """The evidence is wrong. The report knows where."""


class CannotCheck(Exception):  # noqa: N818 - a finding, not a fault of this program
    """Something that the check itself needs is missing."""


def need(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


# Encodings: canonical JSON (RFC 8785 without floats), base64, times ----------------------------

ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
DECODER = json.JSONDecoder(parse_float=lambda _: need(False, "a number is not whole"))


def dumps(value: Any) -> bytes:
    return ENCODER.encode(value).encode()


def loads(data: bytes) -> Any:
    """Read JSON that is written in the one canonical way."""
    value = DECODER.decode(data.decode())
    need(data == dumps(value), "is not canonical JSON")
    return value


def lines_of(data: bytes) -> list[bytes]:
    need(data.endswith(b"\n") or not data, "does not end with a newline")
    return data[:-1].split(b"\n") if data else []


def unbase64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not written in the one right way")
    return data


LAST_YEAR = 9000  # whoever counts days from a time must not run out of years


def seconds(text: str) -> int:
    moment = time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    at = calendar.timegm(moment)
    same = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) == text  # no 60th second, either
    need(same and moment.tm_year <= LAST_YEAR, f"{text} is not a time")
    return at


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_zip(data: bytes) -> dict[str, bytes]:
    """Read a ZIP of stored files whose every other byte is what it has to be."""
    files: dict[str, bytes] = {}
    directory, at = b"", 0
    while data[at : at + 4] == b"PK\x03\x04":
        crc, size, _, length = struct.unpack_from("<3IH", data, at + 14)
        fixed = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, crc, size, size, length, 0)
        body = at + 30 + length
        raw, content = data[at + 30 : body], data[body : body + size]
        name = raw.decode("ascii")
        need(data[at + 4 : at + 30] == fixed, f"ZIP header of {name[:80]!r} is not as written")
        need(len(content) == size and zlib.crc32(content) == crc, f"ZIP entry {name!r} is damaged")
        allowed = name in REQUIRED or OPTIONAL.fullmatch(name)
        need(allowed and name not in files, f"unexpected file {name[:80]!r} in the ZIP")
        attributes = struct.pack("<HHHII", 0, 0, 0, 0o100600 << 16, at)
        directory += b"PK\x01\x02\x14\x03" + fixed + attributes + raw
        files[name], at = content, body + size
    counts = struct.pack("<4H2IH", 0, 0, len(files), len(files), len(directory), at, 0)
    same = data[at:] == directory + b"PK\x05\x06" + counts
    need(same, "is not a ZIP as the service writes it")
    missing = ", ".join(sorted(REQUIRED.difference(files)))
    need(not missing, f"the bundle lacks {missing}")
    return files


# Findings and signatures -----------------------------------------------------------------------


class Report:
    """What was found, and the signatures that are checked together at the end."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.problems: list[dict[str, Any]] = []
        self.jobs: dict[tuple[bytes, bytes, bytes], tuple[str, str, int | None]] = {}
        self.file, self.exit = "", 0
        self.standing: list[dict[str, Any]] = []
        self.index: int | None = None

    def at(self, file: str, index: int | None = None) -> None:
        self.file, self.index = file, index

    def say(self, mark: str, sentence: str) -> None:
        """Add a line. What comes from the bundle must not write lines of its own."""
        plain = sentence.encode("ascii", "backslashreplace").decode()
        self.lines.append((mark, "".join(c if c.isprintable() else "?" for c in plain)))

    def wrong(self, what: str) -> None:
        number = "" if self.index is None else f" [{self.index}]"
        self.problems.append({"what": what, "file": self.file, "index": self.index})
        self.say("WRONG", f"{self.file}{number}: {what}")
        self.exit = 1

    @contextmanager
    def step(self, claim: str, file: str) -> Iterator[None]:
        """Make one part of the check. What is wrong in it does not stop the next part."""
        self.at(file)
        before = len(self.problems)
        try:
            yield
            if len(self.problems) == before:
                self.say("ok", claim)
        except Wrong as error:
            self.wrong(str(error))
        except (*MALFORMED, RecursionError) as error:
            self.wrong(f"cannot be read ({type(error).__name__}: {str(error)[:120]})")

    def signed(self, what: str, key: bytes, signature: bytes, message: bytes) -> None:
        """Put a check aside. `key` is a SubjectPublicKeyInfo; `what` is said if it fails."""
        p256 = key.startswith(P256) and len(key) == len(P256) + 65
        edwards = key.startswith(ED25519) and len(key) == len(ED25519) + 32
        need(p256 or edwards, "a key is neither P-256 nor Ed25519")
        self.jobs.setdefault((key, signature, message), (what, self.file, self.index))

    def check_signatures(self) -> None:
        if not re.match(rb"OpenSSL ([3-9]|[1-9][0-9])\.", openssl("version").stdout):
            raise CannotCheck("OpenSSL 3 or later is needed: `openssl version` names another")
        jobs = list(self.jobs)
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
            stems = [Path(folder) / str(number) for number in range(len(jobs) + 1)]
            good = list(pool.map(verifies, stems, jobs))
            key, signature, message = jobs[0]
            if verifies(stems[-1], (key, signature, message + b"x")):
                raise CannotCheck("this openssl accepts a signature over something else")
        for job in [job for number, job in enumerate(jobs) if not good[number]]:
            what, file, index = self.jobs[job]
            self.at(file, index)
            self.wrong(what)

    def output(self, as_json: bool) -> str:
        verdict = VERDICTS[self.exit]
        lines = [*self.lines, ("VERDICT", verdict)]
        if not as_json:
            return "".join(f"{mark:8} {sentence}\n" for mark, sentence in lines)
        body = {"exit": self.exit, "verdict": verdict, "problems": self.problems}
        found = {"transcript": lines, "standing": self.standing}
        return json.dumps({**body, **found}, indent=1) + "\n"


def openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603 - our words, our files
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCheck(f"the openssl command does not run: {error}") from error


def verifies(stem: Path, job: tuple[bytes, bytes, bytes]) -> bool:
    key, signature, message = job
    pem, sig, msg = (f"{stem}.{suffix}" for suffix in ("pem", "sig", "msg"))
    armour = base64.encodebytes(key).decode()
    Path(pem).write_text(f"-----BEGIN PUBLIC KEY-----\n{armour}-----END PUBLIC KEY-----\n")
    Path(sig).write_bytes(signature)
    Path(msg).write_bytes(message)
    if key.startswith(P256):
        return not openssl("dgst", "-sha256", "-verify", pem, "-signature", sig, msg).returncode
    edwards = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", pem, "-sigfile", sig)
    return not openssl(*edwards, "-in", msg).returncode


# The Merkle tree of RFC 6962 -------------------------------------------------------------------


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree, kept as the roots of its full subtrees, largest first."""

    def __init__(self, size: int, peaks: list[bytes]) -> None:
        self.size, self.peaks = size, peaks

    def push(self, node: bytes, level: int = 0) -> None:
        bits = self.size >> level
        while bits & 1:
            node, bits = node_hash(self.peaks.pop(), node), bits >> 1
        self.peaks.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        node = self.peaks[-1] if self.peaks else hashlib.sha256().digest()
        for peak in self.peaks[-2::-1]:
            node = node_hash(peak, node)
        return node

    def close(self, right: list[bytes], size: int) -> bytes:
        """Append what a range proof has on the right; return the root of the tree of `size`."""
        while 0 < self.size < size:
            level = (self.size & -self.size).bit_length() - 1
            if self.size + (1 << level) > size:
                break
            need(right, "the proof is too short")
            self.push(right.pop(0), level)
        need(len(right) == (self.size < size), "the proof has the wrong length")
        self.peaks += right
        return self.root()


def read_proof(data: bytes) -> tuple[list[int], Frontier, list[bytes]]:
    """Read a range proof: its start, end and size, what is left and what is right of it."""
    magic, numbers, *lines = lines_of(data)
    start, end, size = parts = [int(part) for part in numbers.split(b" ")]
    need(magic == b"keyvault-range-proof-v1", "is no range proof")
    need(numbers == b"%d %d %d" % (start, end, size) and 0 <= start <= end <= size, "has no range")
    hashes = [unbase64(line.decode()) for line in lines]
    peaks = bin(start).count("1")  # noqa: FURB161 - bit_count came with Python 3.10
    sound = all(len(item) == HASH_SIZE for item in hashes)
    need(len(hashes) >= peaks and sound, "does not hold its hashes")
    return parts, Frontier(start, hashes[:peaks]), hashes[peaks:]


# Signed notes (c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature, /tlog-policy) -----------


def log_key(vkey: str, kinds: tuple[int, ...] = (1, ECDSA)) -> tuple[str, bytes, bytes]:
    """Read a verifier key: its name, key id and SubjectPublicKeyInfo."""
    name, key_id, data = vkey.split("+", 2)
    kind, public = unbase64(data)[0], unbase64(data)[1:]
    need(kind in kinds, f"{vkey} is not a key of type {' or '.join(map(str, kinds))}")
    hashed = public if kind == ECDSA else name.encode() + b"\n" + bytes([kind]) + public
    need(sha256_hex(hashed)[:8] == key_id, f"the key id of {vkey} is not the key's")
    return name, bytes.fromhex(key_id), public if kind == ECDSA else ED25519 + public


def read_note(note: bytes, vkeys: list[str], report: Report) -> tuple[str, int, bytes, int]:
    """Read a checkpoint: origin, size, root, and how many of these keys signed it."""
    text, _, block = note.decode().rpartition("\n\n")
    origin, size, root = text.split("\n")
    need(str(int(size)) == size and len(unbase64(root)) == HASH_SIZE, "is no checkpoint")
    keys = {(name, key_id): key for name, key_id, key in map(log_key, vkeys)}
    signers = 0
    for line in lines_of(block.encode()):
        dash, name, data = line.decode().split(" ")
        need(dash == "\u2014", "a signature line does not begin with a dash")
        key = keys.get((name, unbase64(data)[:4]))
        if key is not None:
            what = f"the signature of log key {name} is not valid"
            report.signed(what, key, unbase64(data)[4:], f"{text}\n".encode())
            signers += 1
    return origin, int(size), unbase64(root), signers


class Policy:
    """Which witnesses have to cosign a checkpoint."""

    def __init__(self, data: bytes) -> None:
        good = data.endswith(b"\n") and not re.search(rb"[^\t\n -~\x80-\xff]", data)
        need(good, "is not lines of text, as a policy is")
        self.logs: list[str] = []
        self.witnesses: dict[str, tuple[str, bytes, bytes]] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""
        self.members: set[str] = set()
        for line in data.decode("utf-8", "surrogateescape").split("\n"):
            words = [word for word in re.split("[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                self.take(words[0], words[1:])
        need(self.quorum, "has no quorum line")
        keys = {key for _, _, key in self.witnesses.values()}
        need(len(keys) == len(self.witnesses), "names one witness twice")

    def take(self, kind: str, words: list[str]) -> None:
        if kind == "log":
            self.logs.append(words[0])
        elif kind == "witness":
            self.check_new(words[0])
            self.witnesses[words[0]] = log_key(words[1], (COSIGNATURE,))
        elif kind == "group":
            self.take_group(*words)
        else:
            need(kind == "quorum" and len(words) == 1 and not self.quorum, f"has a line {kind!r}")
            need(words[0] in {"none", *self.witnesses, *self.groups}, f"{words[0]} is nobody")
            self.quorum = words[0]

    def take_group(self, name: str, count: str, *members: str) -> None:
        self.check_new(name)
        for member in members:
            known = member in self.witnesses or member in self.groups
            need(known and member not in self.members, f"group {name} cannot have {member}")
            self.members.add(member)
        threshold = {"any": 1, "all": len(members)}.get(count) or int(count)
        need(1 <= threshold <= len(members), f"group {name} asks for {count} of {len(members)}")
        self.groups[name] = (threshold, list(members))

    def check_new(self, name: str) -> None:
        need(name not in {"none", *self.witnesses, *self.groups}, f"{name} is named twice")

    def holds(self, name: str, cosigners: dict[str, int]) -> bool:
        threshold, members = self.groups.get(name, (0, []))
        enough = sum(self.holds(member, cosigners) for member in members) >= threshold
        return name == "none" or name in cosigners or (name in self.groups and enough)

    def cosigners(self, note: bytes, report: Report) -> dict[str, int]:
        """Put the cosignatures of these witnesses aside; return who and when (POSIX seconds)."""
        text, _, block = note.decode().rpartition("\n\n")
        known = {(name, key_id): (w, key) for w, (name, key_id, key) in self.witnesses.items()}
        found = {}
        for line in lines_of(block.encode()):
            _, name, data = line.decode().split(" ")
            blob = unbase64(data)
            if (name, blob[:4]) in known:
                witness, key = known[name, blob[:4]]
                when = found[witness] = int.from_bytes(blob[4:12], "big")
                message = f"cosignature/v1\ntime {when}\n{text}\n".encode()
                what = f"the cosignature of witness {witness} is not valid"
                report.signed(what, key, blob[12:], message)
        return found


# Documents of authority: every field is known, of its kind and within its limits -----------------

# A form and its fields, each with its kind: another form, or a line of `KINDS` or `WORDS`. With ?
# it may be null; with * it is a list, not empty, in which nothing stands twice.
FORMS = """
scope: party=part user_role=part user_id=part
seen: size=size root=hash
credential: spki=key assurance=assurance login_only=truth
grant: role=role scope=reach until=time
screening: standard=text vetting=vetting reference=text reviewed_on=day due=day
duty: name=id version=number sha256=hash roles=role* since=day
rule: id=id commands=text* key_classes=text* roles=role* approvals=number expires_after=number
  wait=number group_by=group? groups=number assurance=assurance vetting=vetting break_glass=truth
key-class: name=id residence=residence verify=verify extractable=truth guarded=truth
  module_level=number retention_days=number
standard: name=standard-name edition=text in_force_from=day? transition_until=day? reference=text
generate-key: label=text algorithm=text usage=text key_class=text protect_days=number
  process_days=number need=text? supersedes=uuid? cell_usage=cell?
import-key: label=text algorithm=text usage=text key_class=text protect_days=number
  process_days=number kek=uuid blob=bytes
export-key: key=uuid kek=uuid reason=text
activate-key: key=uuid reason=text
resume-key: key=uuid reason=text
deactivate-key: key=uuid reason=text
destroy-key: key=uuid reason=text
allow-use: key=uuid uses=number hours=number reason=text
lift-hold: key=uuid hold=uuid reason=text
register-person: person=id full_name=text organisation=text site=text manager=id?
  credential=credential grants=grant* screening=screening login=credential?
change-person: person=id organisation=text site=text manager=id? grants=grant* reason=text
remove-person: person=text reason=text
review-screening: person=text screening=screening
suspend-person: person=text reason=text
reinstate-person: person=text reason=text
enrol-credential: person=text credential=credential
revoke-credential: person=text thumbprint=text reason=text
enrol-system: system=id full_name=text certificate=bytes issuer=bytes actions=text* keys=text*
  until=time
rotate-system: system=text certificate=bytes issuer=bytes overlap_hours=number until=time
set-rule: rule=rule reason=text
remove-rule: rule=text reason=text
set-key-class: key_class=key-class reason=text
set-duty: duty=duty
set-standard: standard=standard
hold-person: person=text hours=number reason=text
revoke-system: system=text reason=text
acknowledge-duty: person=text duty=text version=number sha256=text
request: ctx=request-v1 origin=text id=uuid command=command parameters=any scope=scope? rule=rule
  requester=id requested_at=time expires_at=time nonce=nonce seen=seen
approval: approver=text credential=text decision=decision reason=words at=time seen=seen
  signature=base64
record: v=one seq=number prev=hash at=time request=any approvals=any
genesis: ctx=genesis-v1 origin=text site=text created_at=time nonce=hex officers=register-person*
  rules=rule* key_classes=key-class* duties=duty* standards=standard* services=services
services: log_keys=text* session_ca=bytes evidence=bytes
"""
FIELDS = {
    line.split(": ")[0]: dict(field.split("=") for field in line.split(": ")[1].split())
    for line in FORMS.replace("\n  ", " ").strip().split("\n")
}
COMMANDS = [name for name in FIELDS if "-" in name and name != "key-class"]
ROLES = """
  key-owner key-custodian key-approver hsm-security-officer registrar token-issuer
  senior-responsible-officer token-holder system-administrator incident-lead auditor
  ceremony-administrator witness
""".split()  # noqa: SIM905 - a list would be a line each
WORDS = {
    "assurance": ["software", "card"],  # the later is the stronger
    "vetting": ["baseline", "enhanced"],
    "group": ["organisation", "site", "manager"],
    "residence": ["resident", "wrapped"],
    "verify": ["always", "sampled", "never"],
    "decision": ["approve", "refuse"],
    "cell": ["management", "prePaymentTopUp"],
    "role": ROLES,
    "command": COMMANDS,
    "request-v1": ["keyvault-request-v1"],
    "genesis-v1": ["keyvault-genesis-v1"],
}
DAY, HOUR = 86_400, 3_600  # seconds
HOLD_PAUSE = 3 * DAY  # from one hold to the next that one person may set
NONCE, TEXT_LIMIT, BYTES_LIMIT, LIST_LIMIT = 16, 200, 16_384, 1_000
MAX_SCREENING, MAX_OVERLAP, MAX_HOLD, MAX_LEVEL = 366 * DAY, 90 * 24, 72, 4
PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PATTERNS = {
    "part": PART,
    "reach": rf"\*|{PART}/{PART}/{PART}",
    "id": "[a-z0-9][a-z0-9-]{0,62}",
    "hash": "[0-9a-f]{64}",
    "nonce": "[0-9a-f]{32}",
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "standard-name": "[A-Za-z0-9][A-Za-z0-9 ./-]{0,63}",
}


def is_words(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_LIMIT and value.isprintable()


KINDS: dict[str, Callable[[Any], object]] = {
    "any": lambda _: True,  # whoever asks looks closer
    "text": lambda text: is_words(text) and text and text == text.strip(),
    "words": is_words,
    "number": lambda number: type(number) is int and 0 <= number < 1 << 31,
    "size": lambda number: type(number) is int and 0 <= number < 1 << 53,
    "one": lambda number: type(number) is int and number == 1,
    "truth": lambda truth: type(truth) is bool,
    "base64": lambda text: unbase64(text) is not None,
    "bytes": lambda text: 0 < len(unbase64(text)) <= BYTES_LIMIT,
    "hex": lambda text: fits("text", text) and len(bytes.fromhex(text)) == NONCE,
    # There is one encoding of each, so that nobody is two people with one key.
    "key": lambda text: re.fullmatch(re.escape(P256) + b"\x04.{64}", unbase64(text), re.DOTALL),
    "time": lambda text: seconds(text) is not None,
    "day": lambda text: day(text) is not None,
}
# What has to be so beside the kinds of the fields.
ALSO: dict[str, Callable[[Any], object]] = {
    "screening": lambda own: 0 < day(own["due"]) - day(own["reviewed_on"]) <= MAX_SCREENING,
    "duty": lambda own: own["version"] > 0,
    "key-class": lambda own: own["module_level"] <= MAX_LEVEL,
    "register-person": lambda own: own["manager"] != own["person"] and keys_differ(own),
    "change-person": lambda own: own["manager"] != own["person"],
    "rotate-system": lambda own: own["overlap_hours"] <= MAX_OVERLAP,
    "hold-person": lambda own: 1 <= own["hours"] <= MAX_HOLD,
    "request": lambda own: fits(own["command"], own["parameters"]),
    "record": lambda own: all(fits("approval", approval) for approval in own["approvals"]),
}


def keys_differ(new: Any) -> bool:
    """One key of a joiner decides, and another, if there is one, only logs in."""
    key, login = new["credential"], new["login"]
    own = login is None or (login["login_only"] and login["spki"] != key["spki"])
    return own and not key["login_only"]


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of a kind. In a form, say which field is not."""
    if kind in FIELDS:
        return is_form(kind, value)
    if kind[-1] == "?":
        return value is None or fits(kind[:-1], value)
    if kind[-1] == "*":
        return is_list(kind[:-1], value)
    if kind in WORDS or kind in PATTERNS:
        pattern = PATTERNS.get(kind) or "|".join(WORDS[kind])
        return is_words(value) and re.fullmatch(pattern, value) is not None
    try:
        return bool(KINDS[kind](value))
    except MALFORMED:
        return False


def is_list(kind: str, value: Any) -> bool:
    """Not empty, and nothing in it stands twice."""
    sized = isinstance(value, list) and 0 < len(value) <= LIST_LIMIT
    same = sized and all(fits(kind, item) for item in value)
    return same and len({dumps(item) for item in value}) == len(value)


def is_form(kind: str, value: Any) -> bool:
    fields = FIELDS[kind]
    same = isinstance(value, dict) and set(value) == set(fields)
    need(same, f"a {kind} takes exactly: {', '.join(sorted(fields))}")
    for name, of_kind in fields.items():
        need(fits(of_kind, value[name]), f"{name} of a {kind} is not what it should be")
    need(kind not in ALSO or ALSO[kind](value), f"the fields of a {kind} do not go together")
    return True


def day(text: str) -> int:
    """The second at which a day begins."""
    return seconds(f"{text}T00:00:00Z")


def when(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


# Standing: whether a person's rights count at a second -------------------------------------------

EVERYWHERE = "*"
PROTECTIVE, PERSONAL = {"hold-person", "revoke-system"}, {"acknowledge-duty"}
# Acts, and who may ask for them. What a person acknowledges, they say for themselves.
ASKING_TABLE = """
generate-key import-key: key-owner
export-key activate-key resume-key deactivate-key destroy-key allow-use lift-hold: key-owner
  key-custodian
register-person change-person remove-person review-screening suspend-person reinstate-person
  enrol-credential revoke-credential enrol-system rotate-system: registrar
  senior-responsible-officer
set-rule remove-rule set-key-class set-duty set-standard: registrar
hold-person revoke-system: key-custodian key-approver registrar senior-responsible-officer
  incident-lead
"""
ASKING: dict[str, list[str]] = {
    command: line.split(": ")[1].split()
    for line in ASKING_TABLE.replace("\n  ", " ").strip().split("\n")
    for command in line.split(": ")[0].split()
}
# Separation of duties: nobody holds both for the same scope.
APART = {
    *map(frozenset, (("key-owner", "key-custodian"), ("hsm-security-officer", "key-custodian"))),
    *map(frozenset, (("hsm-security-officer", "key-approver"), ("registrar", "token-issuer"))),
    frozenset(("registrar", "senior-responsible-officer")),
    *(frozenset(("auditor", role)) for role in {*ROLES} - {"auditor", "token-holder", "witness"}),
    *(
        frozenset(("system-administrator", role))
        for role in {*ROLES} - {"system-administrator", "auditor", "token-holder"}
    ),
}


class State(NamedTuple):
    """Who may do what after one record. It never changes: the next record makes the next one."""

    people: dict[str, Any]
    systems: dict[str, Any]
    rules: list[Any]
    classes: dict[str, Any]
    duties: list[Any]
    at: int  # when that was carried out


def reaches(grant: Any, scope: str | None) -> bool:
    """`scope` is where a right has to reach: one scope, all of them (*), or any (None)."""
    return grant["scope"] == EVERYWHERE or scope is None or grant["scope"] == scope


def apart(grants: list[Any]) -> list[tuple[Any, Any]]:
    """Pairs of grants that one person must not hold."""
    return [
        (one, other)
        for at, one in enumerate(grants)
        for other in grants[at + 1 :]
        if frozenset((one["role"], other["role"])) in APART
        and (EVERYWHERE in (one["scope"], other["scope"]) or one["scope"] == other["scope"])
    ]


def held(person: Any, at: float) -> bool:
    hold = person["hold"]
    return hold is not None and (hold["until"] is None or at < hold["until"])


def lapses(state: State, person: Any, role: str, scope: str | None, at: float) -> dict[str, str]:
    """Everything that keeps a role from counting there and then, in plain words. Empty: it does."""
    name, screening = person["name"], person["screening"]
    grants = [g for g in person["grants"] if g["role"] == role and reaches(g, scope)]
    if not grants:
        return {"granted": f"{name} does not hold the role {role}"}
    found, until = {}, max(seconds(grant["until"]) for grant in grants)
    if at >= until:
        found["expired"] = f"the role {role} of {name} ended {when(until)}"
    if held(person, at):
        found["hold"] = f"{name} is on hold: {person['hold']['reason']}"
    if at >= day(screening["due"]) + DAY:
        found["screening"] = f"the screening of {name} was due for review on {screening['due']}"
    for duty in state.duties:
        asked = role in duty["roles"] and at >= day(duty["since"])
        if asked and person["acknowledged"].get(duty["name"], 0) < duty["version"]:
            version = f"{duty['name']}, version {duty['version']}"
            found[f"duty {version}"] = f"{name} has not acknowledged {version}"
    live = [grant for grant in person["grants"] if at < seconds(grant["until"])]
    both = [pair for pair in apart(live) if pair[0] in grants or pair[1] in grants]
    if both:
        pair = " and ".join(grant["role"] for grant in both[0])
        found["conflict"] = f"{name} holds {pair}, which nobody may do together"
    return found


# Rules: how many, who, how soon, and whether that was so ------------------------------------------

LONGEST, LONGEST_BREAK_GLASS = 31 * DAY, 4 * HOUR
MIN_ELIGIBLE = 3
LEVELS = [*WORDS["assurance"], *WORDS["vetting"]]
OWN_RULE = json.loads(
    """{"id": "own", "commands": ["acknowledge-duty"], "key_classes": ["*"], "approvals": 1,
    "expires_after": 2678400, "wait": 0, "group_by": null, "groups": 1, "assurance": "software",
    "vetting": "baseline", "break_glass": false}"""
)
OWN_RULE["roles"] = ROLES


def covers(rule: Any, command: str, key_class: str) -> bool:
    commands, classes = rule["commands"], rule["key_classes"]
    return bool({command, "*"} & set(commands) and {key_class, "*"} & set(classes))


def rule_for(state: State, command: str, key_class: str, broken: bool = False) -> Any:
    """The strictest rule that covers the command; `broken` says that the glass was broken."""
    if command in PERSONAL:
        return OWN_RULE
    covering = [
        rule
        for rule in state.rules
        if rule["break_glass"] is broken and covers(rule, command, key_class)
    ]
    how = " by breaking the glass" if broken else ""
    need(covering, f"no rule allows {command} for class {key_class or 'none'}{how}")
    strictest = [rule for rule in covering if all(stricter(rule, other) for other in covering)]
    need(strictest, f"of the rules for {command} none is the strictest")
    return strictest[0]


def rule_in_force(state: State, request: Any, key_class: str) -> Any:
    """The rule for a request. Changing a rule takes that rule, too."""
    command, new = request["command"], request["parameters"]
    rule = rule_for(state, command, key_class, request["rule"]["break_glass"])
    name = new["rule"] if command == "remove-rule" else new.get("rule", {}).get("id")
    old = [one for one in state.rules if one["id"] == name]
    return joined(rule, old[0]) if old else rule


def stricter(one: Any, other: Any) -> bool:
    """Whether nothing that this rule allows would be refused by the other."""
    return bool(
        set(one["roles"]) <= set(other["roles"])
        and all(one[name] >= other[name] for name in ("approvals", "wait", "groups"))
        and one["expires_after"] <= other["expires_after"]
        and (other["groups"] <= 1 or one["group_by"] == other["group_by"])
        and all(meets(one[name], other[name]) for name in ("assurance", "vetting"))
    )


def joined(rule: Any, old: Any) -> Any:
    """The rule for changing an old one: of whoever decides, all that the old one asks, too."""
    more = rule if rule["groups"] >= old["groups"] else old
    roles = [role for role in rule["roles"] if role in old["roles"]]
    grouped = min(rule["groups"], old["groups"]) > 1 and rule["group_by"] != old["group_by"]
    both = f"rules {rule['id']} and {old['id']}"
    need(roles and not grouped, f"{both} ask people of other roles or groups")
    new = {**rule, "roles": roles, "group_by": more["group_by"], "groups": more["groups"]}
    for name in ("approvals", "wait"):
        new[name] = max(rule[name], old[name])
    for name in ("assurance", "vetting"):
        new[name] = max(rule[name], old[name], key=LEVELS.index)
    if new["wait"] >= rule["expires_after"]:
        new["expires_after"] = old["expires_after"]
    return new


def group_of(rule: Any, person: Any) -> str:
    kind = rule["group_by"]
    return str(person[kind] or person["id"]) if kind else ""


def meets(level: str, needed: str) -> bool:
    return LEVELS.index(level) >= LEVELS.index(needed)


def able(person: Any, rule: Any) -> bool:
    """Whether the person has a key that decides, and was screened, as the rule asks."""
    keys, level = person["credentials"].values(), person["screening"]["vetting"]
    deciding = [key["assurance"] for key in keys if not key["login_only"]]
    strong = any(meets(own, rule["assurance"]) for own in deciding)
    return strong and meets(level, rule["vetting"])


def scope_of(request: Any) -> str | None:
    """The scope of a request as text, or None where it concerns every one."""
    scope = request["scope"]
    return scope and "/".join(scope[part] for part in ("party", "user_role", "user_id"))


class Redemption:
    """A request with its approvals, judged as of one second under the authority in force."""

    def __init__(self, state: State, request: Any, at: float) -> None:
        self.state, self.request, self.at = state, request, at
        self.rule, self.command = request["rule"], request["command"]
        self.asked, self.until = seconds(request["requested_at"]), seconds(request["expires_at"])
        self.scope = scope_of(request) or EVERYWHERE
        self.subject = request["parameters"].get("person", "")
        self.alone = self.rule["approvals"] == 1 and self.command in PROTECTIVE | PERSONAL

    def check(self, approvals: list[Any], report: Report) -> None:
        """Enough people, independent enough, in good standing and in time, signed for this."""
        self.check_time()
        self.check_requester()
        for approval in approvals:
            self.check_approval(approval)
            person = self.state.people[approval["approver"]]
            check_signature(self.request, approval, person, report)
        self.check_enough([self.state.people[name] for name in {a["approver"] for a in approvals}])

    def check_time(self) -> None:
        stretched = self.until != self.asked + self.rule["expires_after"]
        need(not stretched, "the request does not expire when its rule says")
        need(self.at <= self.until, "it began after the request had expired")
        need(self.asked <= self.at + LEEWAY, "the request is from the future")
        due = self.asked + self.rule["wait"]
        rule = self.rule["id"]
        need(self.at >= due, f"it began too soon: rule {rule} asks to wait until {when(due)}")

    def check_requester(self) -> None:
        who = self.request["requester"]
        need(who in self.state.people, f"{who} is no person known to authority")
        if self.command in PERSONAL and self.subject == who:
            return
        person, reasons = self.state.people[who], []
        for role in ASKING.get(self.command, []):
            reasons.append(lapses(self.state, person, role, self.scope, self.asked))
            if self.command == "review-screening":  # to ask for it decides nothing
                reasons[-1].pop("screening", None)
            if not reasons[-1]:
                return
        best = next((r for r in reasons if "granted" not in r), None)
        roles = " or ".join(ASKING.get(self.command, ["of nobody else"]))
        why = "; ".join(best.values()) if best else f"the role {roles} is needed"
        need(False, f"{who} could not ask for {self.command} then: {why}")

    def reasons(self, person: Any, role: str, at: float) -> dict[str, str]:
        """The lapses that count.

        When too few are left to review anybody, those whose own review is due may review others:
        there would be no way back without.
        """
        found = lapses(self.state, person, role, self.scope, at)
        if self.command == "review-screening" and "screening" in found and self.too_few(at):
            del found["screening"]
        return found

    def too_few(self, at: float) -> bool:
        beside = (self.request["requester"], self.subject)
        left = [
            who
            for who, person in self.state.people.items()
            if who not in beside
            and able(person, self.rule)
            and any(not lapses(self.state, person, r, self.scope, at) for r in self.rule["roles"])
        ]
        return bool(len(left) < self.rule["approvals"])

    def check_approval(self, approval: Any) -> None:
        who, signed = approval["approver"], seconds(approval["at"])
        need(who in self.state.people, f"{who} is no person known to authority")
        asked = who == self.request["requester"] and not self.alone
        need(not asked, f"{who} asked for this and cannot approve it")
        need(who != self.subject or self.alone, f"{who} cannot decide on themselves")
        in_time = self.asked - LEEWAY <= signed <= self.until
        need(in_time, f"the approval of {who} is outside the request's time")
        need(signed <= self.at + LEEWAY, f"{who} approved after it had happened")
        person = self.state.people[who]
        for at in (signed, self.at):
            self.check_standing(person, at)
        key = person["credentials"].get(approval["credential"])
        need(key, f"this is not an enrolled key of {who}")
        kind = self.rule["assurance"]
        fits = meets(key["assurance"], kind)
        need(fits, f"{who} signed with less than the {kind} that rule {self.rule['id']} asks for")

    def check_standing(self, person: Any, at: float) -> None:
        who = person["id"]
        if self.command in PERSONAL:
            need(self.subject == who, f"{who} cannot say this for {self.subject}")
            need(not held(person, at), f"{who} was on hold at {when(at)}")
            return
        reasons = [self.reasons(person, role, at) for role in self.rule["roles"]]
        if all(reasons):
            best = min(reasons, key=lambda reason: "granted" in reason)
            words = "; ".join(best.values())
            need(False, f"the approval of {who} does not count at {when(at)}: {words}")
        level = self.rule["vetting"]
        deep = meets(person["screening"]["vetting"], level)
        need(deep, f"{who} is not screened to the level {level}")

    def check_enough(self, people: list[Any]) -> None:
        wanted, groups = self.rule["approvals"], self.rule["groups"]
        wanted = wanted if self.alone else max(wanted, MIN_APPROVALS)
        need(len(people) >= wanted, f"{len(people)} of {wanted} approvals are there")
        found = len({group_of(self.rule, person) for person in people})
        kind = self.rule["group_by"]
        need(found >= groups, f"approvals come from {found} of {groups} {kind} groups")


def check_signature(request: Any, approval: Any, person: Any, report: Report) -> None:
    who, key = approval["approver"], person["credentials"].get(approval["credential"])
    need(approval["decision"] == "approve", f"{who} refused")
    need(key, f"this is not an enrolled key of {who}")
    need(not key["login_only"], f"{who} signed with a key that only logs in")
    own = {name: value for name, value in approval.items() if name != "signature"}
    message = dumps({**own, "ctx": "keyvault-approval-v1", "request": request})
    what = f"the signature of {who} on request {request.get('id', 'genesis')} is not valid"
    report.signed(what, key["spki"], unbase64(approval["signature"]), message)


# What must hold after every record: nobody decides alone, and a way on is left --------------------


def check_sound(state: State, command: str, before: State | None) -> None:
    """A rule that was sound before has to be so still; one that losses broke may be mended."""
    if command in PROTECTIVE:
        return  # ends by itself, or concerns nobody who decides
    if command not in ("remove-person", "revoke-credential", "suspend-person"):
        for person in state.people.values():
            for one, other in apart(person["grants"]):
                both = f"{one['role']} and {other['role']}"
                need(False, f"{person['name']} cannot be {both} for the same scope")
        for rule in state.rules:
            if before is None or rule not in before.rules or is_sound(before, rule):
                check_rule(state, rule)
        check_overlaps(state.rules)
        for name in sorted({*CHANGES} - PERSONAL):
            rule_for(state, name, "")
    check_mendable(state)


def is_sound(state: State, rule: Any) -> bool:
    try:
        check_rule(state, rule)
    except Wrong:
        return False
    return True


def check_rule(state: State, rule: Any) -> None:
    """Not too weak, and people enough to meet it, and to change it."""
    name, wanted, life = rule["id"], rule["approvals"], rule["expires_after"]
    commands, glass = set(rule["commands"]), rule["break_glass"]
    need(commands <= {"*", *COMMANDS} - PERSONAL, f"rule {name} is for unknown commands")
    need(rule["wait"] < life <= LONGEST, f"rule {name} expires too late or too soon")
    fits = 1 <= rule["groups"] <= wanted and (rule["groups"] > 1) == bool(rule["group_by"])
    need(fits, f"rule {name} asks for groups that do not add up")
    least = 1 if commands <= PROTECTIVE and not glass else MIN_APPROVALS
    need(wanted >= least, f"rule {name} asks for fewer than {least}")
    quick = life <= LONGEST_BREAK_GLASS and not rule["wait"]
    need(quick or not glass, f"rule {name} breaks the glass, and waits or lasts too long")
    changing = [joined(rule_for(state, act, ""), rule) for act in ("set-rule", "remove-rule")]
    for one in (rule, *changing):
        check_electors(state, one)


def check_electors(state: State, rule: Any) -> None:
    people, wanted = electors(state, rule), rule["approvals"]
    least = max(MIN_ELIGIBLE if wanted >= MIN_APPROVALS else 1, wanted + 1)
    need(len(people) >= least, f"rule {rule['id']} has too few holders: {len(people)} of {least}")
    spare = all(satisfy(rule, [p for p in people if p is not one]) for one in people)
    need(spare, f"rule {rule['id']} has too few groups without one person")


def electors(state: State, rule: Any) -> list[Any]:
    """Whose signature could count under a rule for every scope."""
    people = state.people.values()
    return [p for p in people if holds(p, rule["roles"], state.at) and able(p, rule)]


def holds(person: Any, roles: list[str], at: int) -> bool:
    """Whether they hold one of the roles for every scope, unless they are suspended."""
    return not (person["hold"] and person["hold"]["until"] is None) and any(
        grant["role"] in roles and reaches(grant, EVERYWHERE) and at < seconds(grant["until"])
        for grant in person["grants"]
    )


def satisfy(rule: Any, people: list[Any]) -> bool:
    groups = {group_of(rule, person) for person in people}
    return bool(len(people) >= rule["approvals"] and len(groups) >= rule["groups"])


def check_overlaps(rules: list[Any]) -> None:
    """Of two rules for the same act one has to be the stricter in everything."""
    for one, other in combinations(rules, 2):
        pair = f"rules {one['id']} and {other['id']}"
        if not all(
            "*" in one[name] + other[name] or set(one[name]) & set(other[name])
            for name in ("commands", "key_classes")
        ):
            continue
        if one["break_glass"] is other["break_glass"]:
            ordered = stricter(one, other) or stricter(other, one)
            need(ordered, f"{pair} cover the same act, and neither is stricter in everything")
        else:
            glass, normal = (one, other) if one["break_glass"] else (other, one)
            bigger = glass["approvals"] > normal["approvals"]
            need(bigger, f"{pair}: breaking the glass takes more people, never fewer")


def check_mendable(state: State) -> None:
    """Somebody must be left who can ask for a successor, and enough others who can agree."""
    for command in ("register-person", "enrol-credential"):
        rule, people = rule_for(state, command, ""), state.people.values()
        signers = electors(state, rule)
        askers = [p for p in people if p["credentials"] and holds(p, ASKING[command], state.at)]
        mendable = any(satisfy(rule, [p for p in signers if p is not one]) for one in askers)
        need(mendable, "nobody could be registered any more: too few holders are left")


# What each record changes -------------------------------------------------------------------------

MOVED = ("organisation", "site", "manager", "grants")


def key_of(credential: Any) -> dict[str, Any]:
    spki = unbase64(credential["spki"])
    return {sha256_hex(spki): {**credential, "spki": spki}}


def newcomer(new: Any) -> dict[str, Any]:
    person = {name: new[name] for name in (*MOVED, "screening")}
    keys = {**key_of(new["credential"]), **(key_of(new["login"]) if new["login"] else {})}
    person.update(id=new["person"], name=new["full_name"], credentials=keys)
    return {**person, "acknowledged": {}, "hold": None}


def check_reviewed(person: Any, at: int) -> None:
    on = person["screening"]["reviewed_on"]
    need(day(on) <= at, f"the review of {person['id']} on {on} had not taken place yet")


def known(items: dict[str, Any], name: str) -> Any:
    need(name in items, f"{name} is not registered")
    return items[name]


def without(items: dict[str, Any], name: str) -> dict[str, Any]:
    known(items, name)
    return {key: value for key, value in items.items() if key != name}


class Change:
    """What a request changes when it is carried out: a method for each command."""

    def __init__(self, state: State, request: Any, at: int) -> None:
        self.state, self.new, self.at = state._replace(at=at), request["parameters"], at
        self.command, self.scope = request["command"], scope_of(request)
        self.person: Any = state.people.get(self.new.get("person"))

    def made(self) -> State:
        need(self.command in CHANGES, f"{self.command} does not change authority")
        change: Callable[[], State] = getattr(self, self.command.replace("-", "_"))
        of_one = self.scope is None or self.command.endswith("-system")
        need(of_one, f"{self.command} concerns every scope, and names one")
        new = self.command in ("register-person", "enrol-system")
        need(new or "person" not in self.new or self.person, "this person is not registered")
        return change()

    def with_person(self, **changes: Any) -> State:
        who = self.new["person"]
        return self.state._replace(
            people={**self.state.people, who: {**(self.person or {}), **changes}}
        )

    def need_new(self, *thumbprints: str) -> None:
        keys = {key for person in self.state.people.values() for key in person["credentials"]}
        keys.update(pin["key"] for one in self.state.systems.values() for pin in one["pins"])
        need(keys.isdisjoint(thumbprints), "this key is enrolled already")

    def register_person(self) -> State:
        person = newcomer(self.new)
        need(self.person is None, f"{person['id']} is registered already")
        check_reviewed(person, self.at)
        self.need_new(*person["credentials"])
        return self.with_person(**person)

    def change_person(self) -> State:
        return self.with_person(**{name: self.new[name] for name in MOVED})

    def remove_person(self) -> State:
        return self.state._replace(people=without(self.state.people, self.new["person"]))

    def review_screening(self) -> State:
        screening, last = self.new["screening"], self.person["screening"]["reviewed_on"]
        need(day(screening["reviewed_on"]) >= day(last), f"they were reviewed on {last}, later")
        check_reviewed({**self.person, "screening": screening}, self.at)
        return self.with_person(screening=screening)

    def acknowledge_duty(self) -> State:
        duty = known({duty["name"]: duty for duty in self.state.duties}, self.new["duty"])
        same = all(duty[name] == self.new[name] for name in ("version", "sha256"))
        need(same, f"{duty['name']} stands at version {duty['version']} and another text")
        before = self.person["acknowledged"]
        return self.with_person(acknowledged={**before, duty["name"]: duty["version"]})

    def hold_person(self) -> State:
        before = self.person["hold"]
        lately = before and (before["until"] is None or self.at < before["until"] + HOLD_PAUSE)
        need(not lately, f"{self.person['id']} is suspended, or was on hold until lately")
        until = self.at + self.new["hours"] * HOUR
        return self.with_person(hold={"reason": self.new["reason"], "until": until})

    def suspend_person(self) -> State:
        return self.with_person(hold={"reason": self.new["reason"], "until": None})

    def reinstate_person(self) -> State:
        need(held(self.person, self.at), f"{self.person['id']} is not on hold")
        return self.with_person(hold=None)

    def enrol_credential(self) -> State:
        key = key_of(self.new["credential"])
        self.need_new(*key)
        return self.with_person(credentials={**self.person["credentials"], **key})

    def revoke_credential(self) -> State:
        left = without(self.person["credentials"], self.new["thumbprint"])
        return self.with_person(credentials=left)

    def set_rule(self) -> State:
        rule = self.new["rule"]
        others = [other for other in self.state.rules if other["id"] != rule["id"]]
        return self.state._replace(rules=[*others, rule])

    def remove_rule(self) -> State:
        left = without({rule["id"]: rule for rule in self.state.rules}, self.new["rule"])
        return self.state._replace(rules=list(left.values()))

    def set_key_class(self) -> State:
        new = self.new["key_class"]
        return self.state._replace(classes={**self.state.classes, new["name"]: new})

    def set_duty(self) -> State:
        duty, duties = self.new["duty"], {duty["name"]: duty for duty in self.state.duties}
        follows = duties.get(duty["name"], {"version": 0})["version"] + 1
        need(duty["version"] == follows, f"{duty['name']} follows with version {follows}")
        return self.state._replace(duties=[*{**duties, duty["name"]: duty}.values()])

    def set_standard(self) -> State:
        return self.state  # nothing here follows from an edition of a standard

    def enrol_system(self) -> State:
        need(self.new["system"] not in self.state.systems, "this system is enrolled already")
        need(self.scope, "a system is enrolled for one scope")
        return self.with_pins(self.scope, [])

    def rotate_system(self) -> State:
        system = self.system()
        until = self.at + self.new["overlap_hours"] * HOUR
        return self.with_pins(system["scope"], [{**system["pins"][-1], "until": until}])

    def revoke_system(self) -> State:
        self.system()
        return self.state._replace(systems=without(self.state.systems, self.new["system"]))

    def system(self) -> Any:
        system = known(self.state.systems, self.new["system"])
        need(system["scope"] == self.scope, f"{self.new['system']} belongs to another scope")
        return system

    def with_pins(self, scope: Any, pins: list[Any]) -> State:
        key = sha256_hex(spki_of(unbase64(self.new["certificate"])))
        self.need_new(key)
        spki_of(unbase64(self.new["issuer"]))  # it has to be a certificate
        pins = [*pins, {"key": key, "until": self.new["until"]}]
        system = {"scope": scope, "pins": pins}
        return self.state._replace(systems={**self.state.systems, self.new["system"]: system})


def spki_of(certificate: bytes) -> bytes:
    """The public key of an X.509 certificate: the sixth field, or the seventh with a version."""
    _, at, end = der(certificate, 0)
    need(end == len(certificate), "a certificate is not DER")
    _, at, _ = der(certificate, at)
    for _ in range(6 if certificate[at] == VERSION else 5):
        _, _, at = der(certificate, at)
    tag, _, end = der(certificate, at)
    need(tag == SEQUENCE, "a certificate is not DER")
    return certificate[at:end]


def der(data: bytes, at: int) -> tuple[int, int, int]:
    """Read a DER element: its tag, where its content begins and where it ends."""
    length, start = data[at + 1], at + 2
    if length >= LONG:
        start, size = start + length - LONG, length - LONG
        length = int.from_bytes(data[start - size : start], "big")
    need(start + length <= len(data), "a certificate is not DER")
    return data[at], start, start + length


CHANGES = [command for command in COMMANDS if hasattr(Change, command.replace("-", "_"))]
SEQUENCE, VERSION, LONG = 0x30, 0xA0, 0x80


# The chain, from the genesis ceremony on ----------------------------------------------------------


def check_request(request: Any, origin: str, command: str) -> None:
    fits("request", request)
    need(request["origin"] == origin, "the request belongs to another log")
    need(request["command"] == command, f"people approved {request['command']}, not {command}")


class Authority:
    """The chain of signed records, folded. `states[n]` is what holds after record n."""

    def __init__(self, records: list[Any], report: Report) -> None:
        self.records, self.report = records, report
        self.heads = [sha256_hex(dumps(record)) for record in records]
        genesis = records[0]["request"]
        self.states: list[State] = []
        self.used: set[str] = set()
        for number, record in enumerate(records):
            report.at(AUTHORITY, number)
            self.check_link(number, record)
            self.states.append(self.extended(record) if number else self.founded(record))
        self.origin, self.services = genesis["origin"], genesis["services"]

    def check_link(self, number: int, record: Any) -> None:
        fits("record", record)
        need(record["seq"] == number, "is not the next record")
        previous = self.heads[number - 1] if number else "0" * 64
        need(record["prev"] == previous, "does not follow the record before it")

    def founded(self, record: Any) -> State:
        genesis, approvals = record["request"], record["approvals"]
        fits("genesis", genesis)
        people = {new["person"]: newcomer(new) for new in genesis["officers"]}
        keys = [key for person in people.values() for key in person["credentials"]]
        whole = len(people) == len(genesis["officers"]) and len(set(keys)) == len(keys)
        need(whole, "two officers are one")
        for name, what in (("rules", "id"), ("key_classes", "name"), ("duties", "name")):
            names = {one[what] for one in genesis[name]}
            need(len(names) == len(genesis[name]), f"two {name} have the same name")
        duties = {duty["name"]: duty["version"] for duty in genesis["duties"]}
        people = {who: {**person, "acknowledged": duties} for who, person in people.items()}
        classes = {one["name"]: one for one in genesis["key_classes"]}
        at = seconds(record["at"])
        state = State(people, {}, genesis["rules"], classes, genesis["duties"], at)
        for person in people.values():
            check_reviewed(person, at)
        need(len(people) >= MIN_ELIGIBLE, "genesis has too few holders: 3 officers are needed")
        check_sound(state, "genesis", None)
        signed = sorted(approval["approver"] for approval in approvals)
        need(signed == sorted(people), "is not signed by every officer once")
        for approval in approvals:
            check_signature(genesis, approval, people[approval["approver"]], self.report)
        return state

    def extended(self, record: Any) -> State:
        request, at, state = record["request"], seconds(record["at"]), self.states[-1]
        fits("request", request)
        check_request(request, self.records[0]["request"]["origin"], request["command"])
        before = self.records[record["seq"] - 1]["at"]
        need(at >= seconds(before) - LEEWAY, "is older than the record before it")
        self.use(request)
        need(request["rule"] == rule_in_force(state, request, ""), OTHER_RULE)
        Redemption(state, request, at).check(record["approvals"], self.report)
        after = Change(state, request, at).made()
        check_sound(after, request["command"], state)
        return after

    def use(self, request: Any) -> None:
        need(request["id"] not in self.used, "uses a request a second time")
        self.used.add(request["id"])


# Events: one pass over the rows, in the order of the log -----------------------------------------


class Events:
    """The rows: each is the log's own, none is missing, and every act was approved."""

    def __init__(self, manifest: Any, leaves: bytes, authority: Authority, report: Report) -> None:
        self.manifest, self.leaves, self.authority = manifest, leaves, authority
        self.report, self.filter = report, manifest["filter"]
        self.start, self.end = manifest["range"]["start"], manifest["range"]["end"]
        self.counters: dict[tuple[str, str], int] = {}
        self.seen: dict[tuple[int, str], int] = {}  # (size, root) that somebody saw: event
        self.states = {head[:16]: number for number, head in enumerate(authority.heads)}
        if not self.start:
            self.states[""] = -1  # before genesis, which is the first event of a log
        self.logged: int | None = None if self.start else -1  # newest authority record so far
        self.keys: dict[str, tuple[str, str]] = {}  # class and scope of keys made in the range
        self.life: dict[str, str] = {}
        self.begun: dict[str, tuple[int, int, Any]] = {}  # operation: time, authority, payload
        self.first = self.last = self.latest = 0
        self.disclosed = self.acts = self.hidden = self.classless = self.graced = 0
        self.standing = Standing(authority)

    def check(self, data: bytes) -> None:
        index = self.start - 1
        for index, line in enumerate(lines_of(data), self.start):
            self.report.at(EVENTS, index)
            need(index < self.end, "there are more rows than the range has events")
            self.check_row(index, line)
        self.report.at(EVENTS)
        need(index + 1 == self.end, f"the rows end at {index}, the range at {self.end - 1}")
        withheld = self.end - self.start - self.disclosed
        counts = {"disclosed": self.disclosed, "withheld": withheld}
        need(self.manifest["counts"] == counts, "the manifest counts other rows")
        self.check_dates(self.manifest["dates"])

    def check_row(self, index: int, line: bytes) -> None:
        need(len(line) <= MAX_LINE, "row is too long")
        row = DECODER.decode(line.decode())
        need(row["i"] == index, f"a row is missing or out of order: the next is {row['i']}")
        header, shown = row["h"], "p" in row
        head = dumps(header)
        if shown:
            need(isinstance(row["p"], dict), "payload is not an object")
            body, salt = dumps(row["p"]), row["s"]
            digest = hashlib.sha256(unbase64(salt) + body).digest()
            commitment = base64.b64encode(digest)
            rebuilt = b'{"h":%b,"i":%d,"p":%b,"s":"%b"}' % (head, index, body, salt.encode())
        else:
            commitment = row["c"].encode()
            rebuilt = b'{"c":"%b","h":%b,"i":%d}' % (commitment, head, index)
        need(rebuilt == line, "row is not canonical")
        leaf = hashlib.sha256(b'\0{"h":%b,"p":"%b"}' % (head, commitment)).digest()
        at = (index - self.start) * 32
        need(leaf == self.leaves[at : at + 32], "event is not what the log holds at this place")
        wanted = all(header[name] in values for name, values in self.filter.items())
        need(shown is wanted, f"event {WITHHELD if wanted else UNASKED}")
        self.disclosed += shown
        self.check_header(index, header)
        self.check_payload(index, header, row.get("p"))
        self.standing.note(index, header, row.get("p"), self.states[header["pv"]])

    def check_header(self, index: int, header: Any) -> None:
        need(set(header) == HEADER and header["v"] == 1, "header does not have its fields")
        for number, name in (("ks", "st"), ("as", "ac"), ("ns", "n")):
            count, whose = header[number], (name, header[name])
            last = self.counters.get(whose, count - 1 if self.start else -1)
            jump = f"counter {number} of {header[name]} goes from {last} to {count}"
            need(count == last + 1, f"{jump}: an event is missing")
            self.counters[whose] = count
        self.last, self.latest = header["t"], max(self.latest, header["t"])
        self.first = self.first if index > self.start else header["t"]
        need(self.last >= self.latest - LEEWAY * 1000, "time runs backwards by over a minute")
        if header["cp"]:
            size, root = header["cp"].split(":")
            self.saw(index, int(size), root)
        if header["out"] == "ok":
            self.check_life(header["st"], header["ty"])

    def check_life(self, stream: str, kind: str) -> None:
        if kind not in (*ACTS, *IDLE, "KEY.USED"):
            return
        before = self.life.get(stream, "")
        known = before or self.start or kind in ("KEY.GENERATED", "KEY.IMPORTED")
        need(known, f"{kind} of a key that was never made")
        need(before != "KEY.DESTROYED", "the key was destroyed before")
        need(kind != "KEY.USED" or before not in IDLE, f"the key is used after {before}")
        if kind not in ("KEY.USED", "KEY.EXPORTED", "KEY.USE_ALLOWED", "KEY.HOLD_LIFTED"):
            self.life[stream] = kind

    def saw(self, index: int, size: int, root: str) -> None:
        """Somebody saw the log with this root, so the tree has to agree."""
        need(size <= index and len(root) in (8, 64), "names a state of the log that was not yet")
        self.seen.setdefault((size, root), index)

    def check_payload(self, index: int, header: Any, payload: Any) -> None:
        kind, done = header["ty"], header["out"] == "ok"
        need(header["pv"] in self.states, f"names an authority that is not in {AUTHORITY}")
        state = self.states[header["pv"]]
        need(self.logged in (None, state), "names an authority that is not the one in force")
        self.logged = state
        if kind == "AUTHORITY.CHANGED" and done:
            self.logged = state + 1
            following = self.authority.records[self.logged :][:1]
            same = following and (payload is None or payload["record"] == following[0])
            need(same, f"is not the next record of {AUTHORITY}")
            self.check_record(index, header["t"] / 1000, following[0])
        elif kind in ACTS and header["out"] == "intent":
            self.begun.setdefault(header["op"], (header["t"], state, payload))
        elif kind in ACTS and done and payload is not None:
            self.check_act(index, header, payload, state)
        elif kind in ACTS and done:
            self.hidden += 1
        elif kind == "KEY.USED" and payload and "details" in payload:
            check_batch(payload)

    def check_record(self, index: int, happened: float, record: Any) -> None:
        """Whose rights counted was judged by the record's own time, so it has to be the log's."""
        at, request = seconds(record["at"]), record["request"]
        before = at - LEEWAY <= happened
        same = before and (record["seq"] == 0 or happened <= at + LEEWAY + 1)
        need(same, f"says it was carried out at {when(at)}, and its event is of {when(happened)}")
        asked = [request] if record["seq"] else []
        for saw in [*asked, *record["approvals"]]:
            self.saw(index, saw["seen"]["size"], saw["seen"]["root"])

    def check_act(self, index: int, header: Any, payload: Any, state: int) -> None:
        request, approvals = payload["request"], payload["approvals"]
        command = ACTS[header["ty"]]
        check_request(request, self.authority.origin, command)
        need(all(fits("approval", one) for one in approvals), "an approval is none")
        approved = request["parameters"]
        key = request["id"] if command in BIRTHS else approved["key"]
        happened = payload["key"] == key and header["st"] == f"key:{key}"
        need(happened, "it happened to another key than people approved")
        for name in set(approved) & set(payload):
            need(payload[name] == approved[name], f"{name} is not what people approved")
        scope = scope_of(request) or ""
        need(header["sc"] == scope, "the scope is not what people approved")
        if command in BIRTHS:
            self.keys[key] = (approved["key_class"], scope)
        need(self.keys.get(key, ("", scope))[1] == scope, "the key belongs to another scope")
        self.check_cleared(header, request, approvals, state)
        for seen in [request["seen"], *(approval["seen"] for approval in approvals)]:
            self.saw(index, seen["size"], seen["root"])
        self.acts += 1
        self.classless += key not in self.keys

    def check_cleared(self, header: Any, request: Any, approvals: Any, state: int) -> None:
        """Approvals count as of when the act began: who signed may have left before its end."""
        self.authority.use(request)
        unknown = (header["t"], state, None)
        begun, cleared, intent = self.begun.get(header["op"], unknown)
        need(cleared >= 0, "it happened before genesis")
        same = intent is None or (intent["request"], intent["approvals"]) == (request, approvals)
        need(same, "it is not what was begun, or others approved it")
        moments = [(cleared, begun / 1000 - early) for early in (0, LEEWAY)]
        if self.start and header["op"] not in self.begun:
            # It began before this range: at the earliest when the last had signed, and under this
            # authority or an earlier one.
            first = seconds(request["requested_at"]) + request["rule"]["wait"]
            earliest = max([first, *(seconds(approval["at"]) for approval in approvals)])
            moments = [(number, earliest) for number in range(cleared, -1, -1)]
        self.graced += self.redeem(request, approvals, moments) == moments[1:2]

    def redeem(self, request: Any, approvals: Any, moments: list[Any]) -> list[Any]:
        """Find the moment, and the authority, at which the act counts, or say why at none."""
        key = request["id"] if request["command"] in BIRTHS else request["parameters"]["key"]
        problem = None
        for number, at in moments:
            state = self.authority.states[number]
            try:
                classes = [self.keys[key][0]] if key in self.keys else list(state.classes)
                need(request["rule"] in rules_for(state, request, classes), OTHER_RULE)
                Redemption(state, request, at).check(approvals, self.report)
            except Wrong as error:
                problem = problem or error
            else:
                return [(number, at)]
        raise problem or Wrong("it was never allowed")

    def check_dates(self, dates: Any) -> None:
        """Times may be out of order by a minute, so the range reaches over by that much."""
        if dates is not None:
            since, until = seconds(dates["from"]) * 1000, seconds(dates["to"]) * 1000
            before = self.start == 0 or self.first + LEEWAY * 1000 < since
            at_end = self.end == self.manifest["range"]["size"]
            after = at_end or self.last - LEEWAY * 1000 > until
            need(before and after, "the range does not cover the dates it is for")


def check_batch(payload: Any) -> None:
    tree = Frontier(0, [])
    for number, detail in enumerate(payload["details"]):
        tree.push(hashlib.sha256(b"\0" + dumps({**detail, "i": number})).digest())
    need(tree.size == payload["count"], "details of the batch are not complete")
    need(tree.root().hex() == payload["details_root"], "details of the batch have another root")


def rules_for(state: State, request: Any, key_classes: list[str]) -> list[Any]:
    """The rules that may be in force, one for each class that the key may be of."""
    rules = []
    for name in key_classes:
        try:
            rules.append(rule_in_force(state, request, name))
        except Wrong:
            need(len(key_classes) > 1, f"no rule allows {request['command']} for class {name}")
    return rules


class Standing:
    """Who had a hand in each event, and what their rights were at that second."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.entries = authority, list[Any]()

    def note(self, index: int, header: Any, payload: Any, number: int) -> None:
        """Note the person who acted and, of what was carried out, those who allowed it."""
        kind, _, name = header["ac"].partition(":")
        state, at = self.authority.states[max(number, 0)], header["t"] / 1000
        people = []
        if kind == "person":
            scope = header["sc"] or None
            people.append(standing_of(state, name, "actor", [header["ro"]], scope, at))
        if header["out"] == "ok" and header["ty"] == "AUTHORITY.CHANGED":
            people += self.signers(state, self.authority.records[number + 1])
        elif header["out"] == "ok" and header["ty"] in ACTS and payload is not None:
            people += self.signers(state, payload)
        if people:
            about = {"event": index, "type": header["ty"], "at": when(at)}
            self.entries.append({**about, "people": people})

    @staticmethod
    def signers(state: State, signed: Any) -> Iterator[dict[str, Any]]:
        """Who asked, as of when they did, and who approved, as of when they did."""
        request, roles, scope = signed["request"], list[str](), None
        if "rule" in request:  # genesis has none
            roles, scope = request["rule"]["roles"], scope_of(request) or EVERYWHERE
            asked, asking = seconds(request["requested_at"]), ASKING.get(request["command"], [])
            yield standing_of(state, request["requester"], "requester", asking, scope, asked)
        for one in signed["approvals"]:
            at = seconds(one["at"])
            yield standing_of(state, one["approver"], "approver", roles, scope, at)

    def sentences(self) -> Iterator[str]:
        for entry in self.entries:
            for one in entry["people"]:
                yield f"[{entry['event']}] {entry['type']} {entry['at']}: {sentence_of(one)}"


def standing_of(
    state: State, who: str, part: str, roles: list[str], scope: str | None, at: float
) -> dict[str, Any]:
    """A person's standing for the first of these roles that counted, or that they hold."""
    own: dict[str, Any] = {"person": who, "part": part, "at": when(at), "role": "own"}
    person = state.people.get(who)
    if person is None:
        return {**own, "name": None}
    reasons = {role: lapses(state, person, role, scope, at) for role in roles if role in ROLES}
    for role in sorted(reasons, key=lambda role: (bool(reasons[role]), "granted" in reasons[role])):
        own.update(role=role, lapses=list(reasons[role].values()))
        break
    duties = {
        duty["name"]: [person["acknowledged"].get(duty["name"], 0), duty["version"]]
        for duty in state.duties
    }
    kept = {name: person[name] for name in ("name", "grants", "screening", "hold")}
    return {"lapses": [], **own, **kept, "duties": duties}


def sentence_of(one: Any) -> str:
    who = f"{one['part']} {one['person']} at {one['at']}"
    if one["name"] is None:
        return f"{who} is no person known to authority"
    grants = "; ".join(f"{g['role']} for {g['scope']} until {g['until']}" for g in one["grants"])
    duties = ", ".join(f"{name} {was} of {last}" for name, (was, last) in one["duties"].items())
    hold = f"on hold: {one['hold']['reason']}" if one["hold"] else "not on hold"
    counts = f"does not count ({'; '.join(one['lapses'])})" if one["lapses"] else "counts"
    due = one["screening"]["due"]
    return (
        f"{who} as {one['role']} {counts}; screening due {due}; {grants}; duties {duties}; {hold}"
    )


# The bundle --------------------------------------------------------------------------------------


class Case:
    """One bundle under examination, with what its reader knew before."""

    def __init__(self, options: argparse.Namespace, report: Report, data: bytes) -> None:
        self.options, self.report, self.state = options, report, read_state(options.state)
        self.files = read_zip(data)
        report.at("manifest.json")
        self.manifest = loads(self.files["manifest.json"])
        need(self.manifest["v"] == 1 and self.manifest["redaction"] == "none", "unknown version")
        report.at(AUTHORITY)
        self.authority = Authority([loads(x) for x in lines_of(self.files[AUTHORITY])], report)
        self.events = Events(self.manifest, self.files[LEAVES], self.authority, report)
        self.memory = self.state.get(self.authority.origin, {})
        self.newest = (0, b"")
        self.cosigners: dict[str, int] = {}

    def examine(self) -> None:
        step = self.report.step
        with step("genesis and log key are those that you trust", AUTHORITY):
            self.check_trust()
        with step("every file is the one that the manifest names", "manifest.json"):
            self.check_manifest()
        with step("every event is the log's own, complete, in order and approved", EVENTS):
            self.events.check(self.files[EVENTS])
        with step("the events stand in the tree of the signed checkpoint", "range.proof"):
            self.check_tree()
        if self.options.policy:
            with step("your policy's quorum of witnesses has cosigned it", self.options.policy):
                self.check_quorum(Policy(read_file(self.options.policy)))
        elif POLICY in self.files:
            with step("cosignatures are read by the bundle's own policy", POLICY):
                self.cosigners = Policy(self.files[POLICY]).cosigners(
                    self.files[NEWEST], self.report
                )

    def check_trust(self) -> None:
        genesis, keys = self.authority.heads[0], self.authority.services["log_keys"]
        pinned = self.options.genesis_sha256 or self.memory.get("genesis") or genesis
        need(pinned.lower() == genesis, f"genesis is {genesis}, not the one you trust")
        need(self.options.log_key in (None, *keys), "genesis does not name the log key you trust")
        lines = "".join(f"{key}\n" for key in keys).encode()
        self.report.at("checkpoints/keys")
        need(self.files["checkpoints/keys"] == lines, "are not the log keys of the genesis")

    def check_manifest(self) -> None:
        manifest, named = self.manifest, self.manifest["files"]
        for name in sorted(set(self.files) - {"manifest.json", "manifest.sig"}):
            content = self.files[name]
            if named.get(name) != {"sha256": sha256_hex(content), "size": len(content)}:
                self.report.at(name)
                self.report.wrong("is not the file that the manifest names")
        self.report.at("manifest.json")
        need(set(named) <= set(self.files), "names a file that is not there")
        about = (manifest["origin"], manifest["genesis"])
        need(about == (self.authority.origin, self.authority.heads[0]), "is about another log")

    def check_tree(self) -> None:
        size, root = self.newest = self.checkpoint(NEWEST)
        known = {size: root, **self.previous(size, root)}
        self.report.at("range.proof")
        numbers, tree, right = read_proof(self.files["range.proof"])
        named = [self.manifest["range"][name] for name in ("start", "end", "size")]
        need(numbers == named and size == numbers[2], "is about another range")
        leaves, wanted = self.files[LEAVES], {size for size, _ in self.events.seen}
        wanted.add(self.memory.get("size", 0))
        need(len(leaves) == 32 * (numbers[1] - numbers[0]), "there are more or fewer leaf hashes")
        for at in range(0, len(leaves) + 1, 32):
            if tree.size in wanted:
                need(known.setdefault(tree.size, tree.root()) == tree.root(), FORKED)
            if at < len(leaves):
                tree.push(leaves[at : at + 32])
        need(tree.close(right, size) == root, "the events do not lead to the signed root")
        for (seen, digits), index in self.events.seen.items():
            self.report.at(EVENTS, index)
            need(known[seen].hex().startswith(digits) if seen in known else True, FORKED)
        self.report.at("checkpoints/previous.note")
        self.check_memory(known)

    def check_quorum(self, policy: Policy) -> None:
        note, who = self.files[NEWEST], policy.quorum
        self.cosigners = policy.cosigners(note, self.report)
        missing = ", ".join(name for name in policy.witnesses if name not in self.cosigners)
        need(policy.holds(who, self.cosigners), f"quorum {who} is not reached without {missing}")
        signed = not policy.logs or read_note(note, policy.logs, self.report)[3]
        need(signed, "no log that the policy names has signed it")

    def checkpoint(self, file: str) -> tuple[int, bytes]:
        self.report.at(file)
        own = self.options.log_key
        keys = [own] if own else self.authority.services["log_keys"]
        origin, size, root, signers = read_note(self.files[file], keys, self.report)
        need(origin == self.authority.origin and signers, "no key of this log signed it")
        return size, root

    def previous(self, size: int, root: bytes) -> dict[int, bytes]:
        """A consistency proof is the range proof of no events: what was left, what came after."""
        if PREVIOUS not in self.files:
            return {}
        old_size, old_root = self.checkpoint(PREVIOUS)
        self.report.at("checkpoints/consistency.proof")
        numbers, tree, right = read_proof(self.files["checkpoints/consistency.proof"])
        need(numbers == [old_size, old_size, size], "is about other checkpoints")
        need(tree.root() == old_root and tree.close(right, size) == root, FORKED)
        return {old_size: old_root}

    def check_memory(self, known: dict[int, bytes]) -> None:
        size = self.memory.get("size")
        if size is not None:
            missing = f"cannot show consistency with the log of {size} events that you saw before"
            need(size in known, f"{missing}: ask for a bundle with a proof from there")
            need(known[size].hex() == self.memory["root"], FORKED)
            self.report.say("ok", f"the log continues the one of {size} events seen before")

    def check_signatures(self) -> None:
        evidence = unbase64(self.authority.services["evidence"])
        statement = b"keyvault-manifest-v1\n" + self.files["manifest.json"]
        what = "the signature of the evidence key on the manifest is not valid"
        with self.report.step("every signature is good, says openssl", "manifest.sig"):
            self.report.signed(what, evidence, self.files["manifest.sig"], statement)
            self.report.check_signatures()

    def remember(self) -> None:
        size, root = self.newest
        entry = {"genesis": self.authority.heads[0], "root": root.hex(), "size": size}
        if self.options.state and size >= self.memory.get("size", 0):
            text = json.dumps({**self.state, self.authority.origin: entry}, indent=1)
            Path(self.options.state).write_text(text + "\n", encoding="utf-8")

    def describe_standing(self) -> None:
        self.report.standing = self.events.standing.entries
        for sentence in self.events.standing.sentences() if self.options.standing else ():
            self.report.say("standing", sentence)

    def describe(self) -> None:
        """Say what was found, and what no check of this bundle can say."""
        say, events, genesis = self.report.say, self.events, self.authority.heads[0]
        place = f"events {events.start} to {events.end - 1} of {self.newest[0]}"
        say("log", f"{self.authority.origin}, {place}")
        program = Path(__file__).read_bytes()
        same = "the same as" if program == self.files["verify.py"] else "NOT the one"
        say("program", f"SHA-256 {sha256_hex(program)}, {same} in the bundle")
        say("found", f"{events.disclosed} events disclosed, {events.acts} acts approved")
        if not (self.options.genesis_sha256 or self.memory):
            say("TRUST", f"rests on this bundle alone. Compare its genesis, {genesis},")
            say("TRUST", "with one you got another way, or give that as --genesis-sha256")
        if events.hidden:
            say("limit", f"{events.hidden} approved acts are withheld and were not checked")
        if events.graced:
            say("limit", f"{events.graced} acts count only by the minute that clocks may differ")
        if events.classless:
            say("limit", f"{events.classless} acts are on older keys, whose class is not shown")
        self.describe_witnesses()
        for limit in LIMITS[bool(self.cosigners) :]:
            say("limit", limit)

    def describe_witnesses(self) -> None:
        say = self.report.say
        for witness, when in self.cosigners.items():
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
            say("witness", f"witnessed by {witness} at {at} UTC")
        if self.cosigners and not self.options.policy:
            say("TRUST", "in these witnesses rests on the bundle: give your policy as --policy")


FORKED = "the log is not the one that was seen before: history was rewritten"
LIMITS = (
    "no witness has cosigned: others may have been shown another log, and this one may go on",
    "times are the service's own: no time stamp authority has confirmed them yet",
    "that the device did what the events say rests on the device and the service",
    "files in tsa/ and proofs/, custody.json and the texts were compared with the manifest only",
)


def read_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BUNDLE + 1)
    except OSError as error:
        raise CannotCheck(f"{path} cannot be read: {error.strerror}") from error
    need(len(data) <= MAX_BUNDLE, "is over 1 GiB")
    return data


def read_state(path: str | None) -> dict[str, dict[str, Any]]:
    if not path or not Path(path).exists():
        return {}
    try:
        return dict(json.loads(read_file(path)))
    except (TypeError, ValueError) as error:
        raise CannotCheck(f"{path} is not the memory of earlier checks") from error


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check an evidence bundle.")
    parser.add_argument("bundle")
    parser.add_argument("--genesis-sha256", help="hash of the genesis record, as you know it")
    parser.add_argument("--log-key", help="verifier key of the log, as you know it")
    parser.add_argument("--policy", help="witnesses that you trust, and how many (tlog-policy)")
    parser.add_argument("--state", help="file that remembers the log between bundles")
    parser.add_argument("--standing", action="store_true", help="tell whose rights counted when")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options, report = options_of(arguments), Report()
    try:
        data = read_file(options.bundle)
        report.say("bundle", f"SHA-256 {sha256_hex(data)}, {options.bundle}")
        with report.step("the bundle is well formed and its authority a chain of approvals", ""):
            case = Case(options, report, data)
        if not report.exit:
            case.examine()
            case.check_signatures()
            case.describe_standing()
            case.describe()
        if not report.exit:
            case.remember()
    except CannotCheck as error:
        report.say("STOPPED", str(error))
        report.exit = report.exit or 2
    sys.stdout.write(report.output(options.json))
    return report.exit


if __name__ == "__main__":
    sys.exit(main())
