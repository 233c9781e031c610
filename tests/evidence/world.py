"""A small world to take evidence from: people, a log, its keys, and ways to cheat."""

import base64
import hashlib
import io
import json
import struct
import uuid
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ed25519

from hsm.types import Algorithm, KeyUsage
from keyvault.domain import commands as c
from keyvault.domain.approvals import Approval, Decision, Request, Seen
from keyvault.domain.audit import AuditEvent, EventType, Outcome, Stamp, leaf_of
from keyvault.domain.authority import Services
from keyvault.domain.canonical import canonical
from keyvault.domain.chain import Record
from keyvault.domain.founding import NO_RECORD, Genesis
from keyvault.domain.notes import (
    Checkpoint,
    SignatureType,
    VerifierKey,
    sign_checkpoint,
    tlog_proof,
)
from keyvault.domain.people import Role, thumbprint
from keyvault.domain.quorum import OWN_RULE
from keyvault.domain.rules import Standard
from keyvault.domain.times import milliseconds, text_of
from keyvault.domain.tree import HashReader, Tree, inclusion_proof, leaf_hash, range_proof, root_of
from keyvault.evidence.bundle import MANIFEST_CONTEXT, BundleContents, Continuation, write_bundle
from tests.evidence.people import (
    AUTHORITY,
    CAREFUL,
    CLASSES,
    DUTY,
    P256,
    PEOPLE,
    PROTECTION,
    RULES,
    SCOPE,
    START,
    TOP,
    joiner,
)

ORIGIN = "vault.example/site-1/2026-1"
ACTS = {
    c.GenerateKey: EventType.KEY_GENERATED,
    c.ActivateKey: EventType.KEY_ACTIVATED,
    c.ResumeKey: EventType.KEY_RESUMED,
    c.DeactivateKey: EventType.KEY_DEACTIVATED,
    c.DestroyKey: EventType.KEY_DESTROYED,
    c.AllowUse: EventType.KEY_USE_ALLOWED,
}
ON_SYSTEMS = (c.EnrolSystem, c.RotateSystem, c.RevokeSystem)


EVIDENCE, LOG, SESSION, STRANGER = P256(), P256(), P256(), P256()
EDWARDS = ed25519.Ed25519PrivateKey.generate()
LOG_KEYS = (
    VerifierKey(ORIGIN, SignatureType.ED25519, EDWARDS.public_key().public_bytes_raw()),
    VerifierKey(ORIGIN, SignatureType.ECDSA, LOG.spki),
)


@dataclass
class World:
    """Writes events as the service does. What may be cheated with are its arguments."""

    rules: tuple = RULES
    officers: tuple = ("alice", "bob", "carol", "dan", "fay")
    described: dict = field(default_factory=dict)  # an officer, and what is different with them
    now: datetime = START
    leaves: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    records: list = field(default_factory=list)
    counters: dict = field(default_factory=dict)
    checkpoint: str = ""
    seed: int = 0

    def __post_init__(self):
        document = Genesis(
            origin=ORIGIN,
            site="Site 1",
            created_at=text_of(self.now),
            nonce=bytes(16).hex(),
            officers=tuple(joiner(one, **self.described.get(one, {})) for one in self.officers),
            rules=self.rules,
            key_classes=CLASSES,
            duties=(DUTY,),
            standards=(Standard("BS 7858", "2019", None, None, "to be confirmed"),),
            services=Services(tuple(k.vkey for k in LOG_KEYS), SESSION.spki, EVIDENCE.spki),
        ).document()
        approvals = tuple(self.approval(name, document) for name in self.officers)
        self.add_record(Record(0, NO_RECORD, document, approvals, text_of(self.now)))

    # Pieces -------------------------------------------------------------------------------

    def unique(self):
        self.seed += 1
        return uuid.UUID(bytes=hashlib.sha256(b"%d" % self.seed).digest()[:16], version=4)

    @property
    def reader(self):
        return HashReader([leaf.hash for leaf in self.leaves])

    def seen(self):
        return Seen(len(self.leaves), root_of([leaf.hash for leaf in self.leaves]).hex())

    def approval(self, name, document, *, key=None, **changes):
        key = key or PEOPLE[name]
        fields = {
            "approver": name,
            "credential": thumbprint(key.spki),
            "decision": Decision.APPROVE,
            "reason": "agreed",
            "at": text_of(self.now),
            "seen": self.seen(),
        }
        unsigned = Approval(**{**fields, **changes})
        signature = key.sign(unsigned.message(document))
        return Approval(**{**fields, **changes}, signature=signature)

    def request(self, command, *, rule=None, requester="alice", scope=SCOPE, request_id=None):
        """As a liar may write it: nothing is read back, so nothing is checked."""
        return Request(
            id=request_id or self.unique(),
            origin=ORIGIN,
            command=command,
            scope=scope if isinstance(command, (*c.KEY_COMMANDS, *ON_SYSTEMS)) else None,
            rule=rule or self.rule(command),
            requester=requester,
            requested_at=self.now,
            nonce=bytes(16),
            seen=self.seen(),
        )

    def rule(self, command):
        """The rule for this, where the key is of the class that the command names, or standard."""
        if isinstance(command, c.PERSONAL_COMMANDS):
            return OWN_RULE
        if isinstance(command, c.AUTHORITY_COMMANDS):
            protects = isinstance(command, c.PROTECTIVE_COMMANDS)
            return PROTECTION if protects else AUTHORITY
        return {"critical": TOP, "careful": CAREFUL}.get(
            getattr(command, "key_class", ""), self.rules[0]
        )

    # Events -------------------------------------------------------------------------------

    def event(self, kind, payload, *, outcome=Outcome.OK, stream="log", operation=None, **more):
        """Append one event; `header` in `more` overrides what the log would write."""
        self.now += timedelta(seconds=1)
        event = AuditEvent(
            type=kind,
            outcome=outcome,
            operation=operation or self.unique(),
            stream=stream,
            actor=more.pop("actor", "person:alice"),
            payload=payload,
            role=more.pop("role", ""),
            scope=more.pop("scope", None),
        )
        stamp = Stamp(
            event_id=str(self.unique()),
            stream_number=self.count("st", event.stream),
            actor_number=self.count("ac", event.actor),
            node="node-1",
            boot="boot-1",
            node_number=self.count("n", "node-1"),
            time_ms=milliseconds(self.now),
            monotonic_ms=len(self.leaves) * 1000,
            checkpoint=self.checkpoint,
            authority=self.records[-1].hash[:16] if self.leaves else "",
        )
        leaf = leaf_of(event, stamp, hashlib.sha256(b"salt %d" % len(self.leaves)).digest()[:16])
        return self.append(cheated(leaf, more.get("header", {})))

    def append(self, leaf):
        self.leaves.append(leaf)
        return len(self.leaves) - 1

    def count(self, kind, name):
        number = self.counters.get((kind, name), 0)
        self.counters[kind, name] = number + 1
        return number

    def act(self, command, approvers=("bob", "carol"), **more):
        """Ask, approve, do: intent and ok. Returns the request document."""
        request = more.pop("request", None) or self.request(command)
        document = more.pop("document", request.document)
        self.now += timedelta(minutes=1)
        approvals = more.pop("approvals", None) or [self.approval(a, document) for a in approvers]
        key = str(more.pop("key", getattr(command, "key", request.id)))
        signed = {"request": document, "approvals": [a.document() for a in approvals]}
        common = {
            "stream": f"key:{key}",
            "operation": request.id,
            "scope": more.pop("scope", SCOPE),
        }
        kind = more.pop("kind", None) or ACTS[type(command)]
        self.now += more.pop("wait", timedelta())
        if more.pop("intent", True):
            self.event(kind, signed, outcome=Outcome.INTENT, **common)
        self.event(kind, {**signed, "key": key, **more.pop("payload", {})}, **common, **more)
        return document

    def ask(self, request, *, told=None, **more):
        """Tell of a request when it is made; `told` is what is told instead."""
        stream, more = f"request:{request.id}", {"operation": request.id, **more}
        told = {"request": told or request.document}
        return self.event(EventType.APPROVAL_REQUESTED, told, stream=stream, **more)

    def generate(self, label="k", key_class="standard", approvers=("bob", "carol"), **more):
        return uuid.UUID(self.act(order(label, key_class), approvers, **more)["id"])

    def add_record(self, record, **more):
        payload = {"record": record.document(), "hash": record.hash}
        if not self.records:
            self.records.append(record)
            return self.event(EventType.AUTHORITY_CHANGED, payload, stream="authority")
        index = self.event(EventType.AUTHORITY_CHANGED, payload, stream="authority", **more)
        self.records.append(record)
        return index

    def change(self, command, approvers=("bob", "carol"), **more):
        """Change authority by approval, as the next record."""
        requester = more.pop("requester", "alice")
        request = more.pop("request", None) or self.request(command, requester=requester)
        document = more.pop("document", request.document)
        self.now += more.pop("wait", timedelta())
        approvals = more.pop("approvals", None) or [self.approval(a, document) for a in approvers]
        at = more.pop("at", self.now)
        number, head = len(self.records), self.records[-1].hash
        record = Record(number, head, document, tuple(approvals), text_of(at))
        return self.add_record(record, **more)

    def use(self, key, count=1, **more):
        digests = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(count)]
        pairs = [{"digest": d, "result_sha256": d} for d in digests]
        details = {"count": 1, **pairs[0]}
        if count > 1:
            leaves = [leaf_hash(canonical({"i": n, **pair})) for n, pair in enumerate(pairs)]
            details = {"count": count, "details_root": root_of(leaves).hex(), "details": pairs}
        payload = {"key": str(key), "mechanism": "ecdsa", **details, **more.pop("payload", {})}
        more = {"actor": "system:dcc-1", "scope": SCOPE, **more}
        return self.event(EventType.KEY_USED, payload, stream=f"key:{key}", **more)

    def seal(self):
        """Sign a checkpoint and let later events quote it."""
        tree = self.tree()
        self.checkpoint = f"{tree.size}:{tree.root.hex()[:8]}"
        return self.note()

    def tree(self, size=None):
        tree = Tree()
        for leaf in self.leaves[:size]:
            tree = tree.plus(leaf.hash)
        return tree

    def note(self, size=None, signers=None):
        tree = self.tree(size)
        signers = signers or [(LOG_KEYS[0], EDWARDS.sign), (LOG_KEYS[1], LOG.sign)]
        return sign_checkpoint(Checkpoint(ORIGIN, tree.size, tree.root), signers).to_bytes()

    # Bundles ------------------------------------------------------------------------------

    def contents(self, start=0, end=None, size=None, since=None, proofs=(), **more):
        size = size or len(self.leaves)
        end = size if end is None else end
        read = self.reader
        note = more.pop("checkpoint", None) or self.note(size)
        old = None
        if since is not None:
            old = Continuation(self.note(since), range_proof(read, since, since, size))
        return BundleContents(
            origin=ORIGIN,
            checkpoint=note,
            range=range_proof(read, start, end, size),
            leaves=iter(self.leaves[start:end]),
            authority=tuple(self.records),
            requester="person:erin",
            created_at=text_of(self.now),
            software="keyvault 0.1.0",
            previous=old,
            custody=({"at": text_of(self.now), "by": "person:erin", "what": "asked"},),
            proofs={i: tlog_proof(i, inclusion_proof(read, i, size), note) for i in proofs},
            **more,
        )

    def bundle(self, sign=EVIDENCE.sign, **more):
        out = io.BytesIO()
        write_bundle(self.contents(**more), out, lambda manifest: sign(MANIFEST_CONTEXT + manifest))
        return out.getvalue()

    @property
    def genesis(self):
        return self.records[0].hash


def order(label="k", key_class="standard"):
    return c.GenerateKey(label, Algorithm.EC_P256, KeyUsage.SIGN, key_class, 365, 730)


def cheated(leaf, header):
    """The leaf with other values in its header, committed to as if the log had written them."""
    if not header:
        return leaf
    document = json.loads(leaf.data)
    data = canonical({**document, "h": {**document["h"], **header}})
    return type(leaf)(data, leaf_hash(data), leaf.salt, leaf.payload)


def with_payload(leaf, payload):
    """The leaf committed to another payload, which may be no object at all."""
    body = canonical(payload)
    commitment = b64(hashlib.sha256(leaf.salt + body).digest())
    data = canonical({**json.loads(leaf.data), "p": commitment})
    return type(leaf)(data, leaf_hash(data), leaf.salt, body)


def full_world():
    """A key's whole life, two people joining and leaving, and a batch."""
    world = World()
    key = world.generate()
    world.act(c.ActivateKey(key, "go"))
    world.change(joiner("erin", Role.AUDITOR))
    world.seal()
    world.use(key)
    world.use(key, 5)
    suspended = {"key": str(key), "before": "active", "after": "suspended", "reason": "alarm"}
    world.event(EventType.KEY_SUSPENDED, suspended, stream=f"key:{key}", scope=SCOPE)
    world.act(c.ResumeKey(key, "false alarm"))
    critical = world.generate("c", "critical", ("bob", "carol", "dan"))
    world.change(c.RemovePerson("erin", "left"))
    world.seal()
    world.use(key)
    world.act(c.DeactivateKey(key, "old"), intent=False)
    world.act(c.DestroyKey(key, "over"))
    world.act(
        c.ActivateKey(critical, "go"),
        ("bob", "carol", "dan"),
        request=world.request(c.ActivateKey(critical, "go"), rule=TOP),
    )
    world.use(critical, 3)
    return world


# Tampering with a finished bundle ---------------------------------------------------------------


def unzip(data):
    files, at = {}, 0
    while data[at : at + 4] == b"PK\x03\x04":
        size, _, length = struct.unpack_from("<IIH", data, at + 18)
        body = at + 30 + length
        files[data[at + 30 : body].decode()] = data[body : body + size]
        at = body + size
    return files


def rezip(files):
    """Write the ZIP exactly as the service does, with whatever files."""
    out, directory = bytearray(), bytearray()
    for name, content in files.items():
        raw = name.encode()
        sizes = (zlib.crc32(content), len(content), len(content), len(raw), 0)
        fixed = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, *sizes)
        attributes = struct.pack("<HHHII", 0, 0, 0, 0o100600 << 16, len(out))
        directory += b"PK\x01\x02\x14\x03" + fixed + attributes + raw
        out += b"PK\x03\x04" + fixed + raw + content
    counts = (0, 0, len(files), len(files), len(directory), len(out), 0)
    return bytes(out + directory) + b"PK\x05\x06" + struct.pack("<4H2IH", *counts)


def resigned(files, sign=EVIDENCE.sign, **changes):
    """Make the manifest fit the files again, as somebody with the evidence key could."""
    manifest = {**json.loads(files["manifest.json"]), **changes}
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in files.items()
        if name not in ("manifest.json", "manifest.sig")
    }
    data = canonical(manifest)
    signature = sign(b"keyvault-manifest-v1\n" + data)
    return {**files, "manifest.json": data, "manifest.sig": signature}


def b64(data):
    return base64.b64encode(data).decode()
