#!/usr/bin/env python3
"""Check an evidence bundle of a key vault, on any machine, without the help of its makers.

    python3 verify.py evidence.zip [--genesis-sha256 HEX] [--log-key VKEY] [--policy FILE]
                                   [--state FILE] [--json]

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
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035 - older Python wants it so

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
REQUEST = {"ctx", "origin", "id", "command", "parameters", "scope", "rule", "requester"} | {
    *("requested_at", "expires_at", "nonce", "seen")
}
ACTS = {
    "KEY.GENERATED": "generate-key",
    "KEY.IMPORTED": "import-key",
    "KEY.EXPORTED": "export-key",
    "KEY.ACTIVATED": "activate-key",
    "KEY.RESUMED": "resume-key",
    "KEY.DEACTIVATED": "deactivate-key",
    "KEY.DESTROYED": "destroy-key",
}
BIRTHS = ("generate-key", "import-key")
# After one of these a key must not be used until its life goes on.
IDLE = ("KEY.GENERATED", "KEY.IMPORTED", "KEY.SUSPENDED", "KEY.COMPROMISE_DECLARED")
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


def seconds(text: str) -> int:
    moment = time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    need(time.strftime("%Y-%m-%dT%H:%M:%SZ", moment) == text, f"{text} is not a time")
    return calendar.timegm(moment)


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
        return json.dumps({**body, "transcript": lines}, indent=1) + "\n"


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


# Authority: who may approve what, from the genesis ceremony on -----------------------------------


def covers(rule: Any, command: str, key_class: str) -> bool:
    commands, classes = rule["commands"], rule["key_classes"]
    return bool({command, "*"} & set(commands) and {key_class, "*"} & set(classes))


def rule_for(rules: list[Any], command: str, key_class: str) -> Any:
    """The strictest rule that covers the command."""
    covering = [rule for rule in rules if covers(rule, command, key_class)]
    need(covering, f"no rule allows {command} for class {key_class or 'none'}")
    return max(covering, key=lambda rule: int(rule["approvals"]))


def check_request(request: Any, origin: str, command: str) -> None:
    need(set(request) == REQUEST, "the request does not have the fields of a request")
    need(request["ctx"] == "keyvault-request-v1", "the request is not of version 1")
    need(request["origin"] == origin, "the request belongs to another log")
    need(request["command"] == command, f"people approved {request['command']}, not {command}")


class Authority:
    """The chain of signed records, folded. `people[n]` are those enrolled after record n."""

    def __init__(self, records: list[Any], report: Report) -> None:
        self.records, self.report = records, report
        self.heads = [sha256_hex(dumps(record)) for record in records]
        genesis = records[0]["request"]
        need(genesis["ctx"] == "keyvault-genesis-v1", "the first record is not a genesis")
        self.origin, self.rules = genesis["origin"], genesis["rules"]
        self.services, officers = genesis["services"], genesis["officers"]
        people = {o["id"]: (set(o["roles"]), unbase64(o["spki"])) for o in officers}
        need(len({spki for _, spki in people.values()}) == len(officers), "two officers are one")
        self.people = [people]
        self.used: set[str] = set()
        for number in range(len(records)):
            report.at(AUTHORITY, number)
            self.check(number)

    def check(self, number: int) -> None:
        record = self.records[number]
        need(set(record) == {"v", "seq", "prev", "request", "approvals"}, "has other fields")
        need(record["v"] == 1 and record["seq"] == number, "is not the next record")
        previous = self.heads[number - 1] if number else "0" * 64
        need(record["prev"] == previous, "does not follow the record before it")
        request, approvals = record["request"], record["approvals"]
        if number:
            check_request(request, self.origin, request["command"])
            need(request["rule"] == rule_for(self.rules, request["command"], ""), OTHER_RULE)
            self.check_approvals(request, approvals, self.people[-1])
            self.people.append(changed(self.people[-1], request))
        else:
            signed = sorted(approval["approver"] for approval in approvals)
            need(signed == sorted(self.people[0]), "is not signed by every officer once")
            for approval in approvals:
                self.check_signature(request, approval, self.people[0])
        self.check_rules(self.people[number])

    def check_rules(self, people: Any) -> None:
        for rule in self.rules:
            holders = sum(rule["role"] in roles for roles, _ in people.values())
            need(rule["approvals"] >= MIN_APPROVALS, f"rule {rule['id']} asks for fewer than 2")
            enough = holders > max(MIN_APPROVALS, rule["approvals"])
            need(enough, f"rule {rule['id']} has too few holders")

    def check_approvals(self, request: Any, approvals: list[Any], people: Any) -> None:
        """Enough different enrolled people in the role, in time, never the one who asked."""
        need(request["id"] not in self.used, "uses a request a second time")
        self.used.add(request["id"])
        rule, asked = request["rule"], seconds(request["requested_at"])
        role, wanted, until = rule["role"], rule["approvals"], asked + rule["expires_after"]
        need(seconds(request["expires_at"]) == until, "does not expire when its rule says")
        for approval in approvals:
            who = approval["approver"]
            need(who != request["requester"], f"{who} asked for this and cannot approve it")
            need(who in people, f"{who} is not enrolled")
            need(role in people[who][0], f"{who} does not hold the role {role}")
            in_time = asked - LEEWAY <= seconds(approval["at"]) <= until
            need(in_time, f"the approval of {who} is outside the request's time")
            self.check_signature(request, approval, people)
        count = len({approval["approver"] for approval in approvals})
        need(count >= max(MIN_APPROVALS, wanted), f"{count} of {wanted} approvals are there")

    def check_signature(self, request: Any, approval: Any, people: Any) -> None:
        who, spki = approval["approver"], people[approval["approver"]][1]
        need(approval["decision"] == "approve", f"{who} refused")
        need(approval["credential"] == sha256_hex(spki), f"this is not the enrolled key of {who}")
        own = {key: value for key, value in approval.items() if key != "signature"}
        message = dumps({**own, "ctx": "keyvault-approval-v1", "request": request})
        what = f"the signature of {who} on request {request.get('id', 'genesis')} is not valid"
        self.report.signed(what, spki, unbase64(approval["signature"]), message)


def changed(people: Any, request: Any) -> Any:
    command, parameters = request["command"], request["parameters"]
    if command == "register-person":
        person, spki = parameters["person"], unbase64(parameters["spki"])
        known = person in people or spki in [key for _, key in people.values()]
        need(not known, f"{person} or their key is registered already")
        return {**people, person: (set(parameters["roles"]), spki)}
    if command == "remove-person":
        need(parameters["person"] in people, f"{parameters['person']} is not registered")
        return {who: value for who, value in people.items() if who != parameters["person"]}
    need(command in ("enrol-system", "revoke-system"), f"{command} does not change authority")
    return people


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
        self.disclosed = self.acts = self.hidden = self.classless = 0

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
        need(shown or not wanted, "event matches the filter but is withheld")
        need(wanted or not shown, "event is disclosed but does not match the filter")
        self.disclosed += shown
        self.check_header(index, header)
        self.check_payload(index, header, row.get("p"))

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
        if kind not in ("KEY.USED", "KEY.EXPORTED"):
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
        elif kind in ACTS and header["out"] == "intent":
            self.begun.setdefault(header["op"], (header["t"], state, payload))
        elif kind in ACTS and done and payload is not None:
            self.check_act(index, header, payload, state)
        elif kind in ACTS and done:
            self.hidden += 1
        elif kind == "KEY.USED" and payload and "details" in payload:
            check_batch(payload)

    def check_act(self, index: int, header: Any, payload: Any, state: int) -> None:
        request, approvals = payload["request"], payload["approvals"]
        command, approved = ACTS[header["ty"]], request["parameters"]
        check_request(request, self.authority.origin, command)
        key = request["id"] if command in BIRTHS else approved["key"]
        happened = payload["key"] == key and header["st"] == f"key:{key}"
        need(happened, "it happened to another key than people approved")
        for name in set(approved) & set(payload):
            need(payload[name] == approved[name], f"{name} is not what people approved")
        scope = "/".join(request["scope"][part] for part in ("party", "user_role", "user_id"))
        need(header["sc"] == scope, "the scope is not what people approved")
        if command in BIRTHS:
            self.keys[key] = (approved["key_class"], scope)
        self.check_rule(request, key, scope)
        self.check_cleared(header, request, approvals, state)
        for seen in [request["seen"], *(approval["seen"] for approval in approvals)]:
            self.saw(index, seen["size"], seen["root"])
        self.acts += 1

    def check_cleared(self, header: Any, request: Any, approvals: Any, state: int) -> None:
        """Approvals count as of when the act began: who signed may have left before its end."""
        unknown = (0 if self.start else header["t"], state, None)
        begun, cleared, intent = self.begun.get(header["op"], unknown)
        until = seconds(request["expires_at"])
        need(begun <= (until + LEEWAY) * 1000, "it began after the request had expired")
        people = dict(self.authority.people[cleared])
        if not begun:  # before this range, under this authority or an earlier one
            for past in self.authority.people[:cleared]:
                people = {**past, **people}
        self.authority.check_approvals(request, approvals, people)
        for approval in approvals:
            before = (seconds(approval["at"]) - LEEWAY) * 1000 <= (begun or header["t"])
            need(before, f"{approval['approver']} approved after it had happened")
        same = intent is None or (intent["request"], intent["approvals"]) == (request, approvals)
        need(same, "it is not what was begun, or others approved it")

    def check_rule(self, request: Any, key: str, scope: str) -> None:
        command, rules, rule = request["command"], self.authority.rules, request["rule"]
        if key in self.keys:
            key_class, own = self.keys[key]
            need(own == scope, "the key belongs to another scope")
            need(rule == rule_for(rules, command, key_class), OTHER_RULE)
        else:  # the key was made before this range, so its class is not known here
            need(rule in rules and {command, "*"} & set(rule["commands"]), OTHER_RULE)
            self.classless += 1

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
        if events.classless:
            say("limit", f"{events.classless} acts are on older keys, whose class is not shown")
        for witness, when in self.cosigners.items():
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
            say("witness", f"witnessed by {witness} at {at} UTC")
        if self.cosigners and not self.options.policy:
            say("TRUST", "in these witnesses rests on the bundle: give your policy as --policy")
        for limit in LIMITS[bool(self.cosigners) :]:
            say("limit", limit)


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check an evidence bundle.")
    parser.add_argument("bundle")
    parser.add_argument("--genesis-sha256", help="hash of the genesis record, as you know it")
    parser.add_argument("--log-key", help="verifier key of the log, as you know it")
    parser.add_argument("--policy", help="witnesses that you trust, and how many (tlog-policy)")
    parser.add_argument("--state", help="file that remembers the log between bundles")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options, report = parser.parse_args(arguments), Report()
    try:
        data = read_file(options.bundle)
        report.say("bundle", f"SHA-256 {sha256_hex(data)}, {options.bundle}")
        with report.step("the bundle is well formed and its authority a chain of approvals", ""):
            case = Case(options, report, data)
        if not report.exit:
            case.examine()
            case.check_signatures()
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
