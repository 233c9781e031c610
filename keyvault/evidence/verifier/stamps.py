"""Time stamps (RFC 3161): what authorities outside say about when the log was how long."""

from __future__ import annotations

import calendar
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyvault.evidence.verifier.archive import NEWEST
from keyvault.evidence.verifier.merkle import read_proof
from keyvault.evidence.verifier.notes import read_note
from keyvault.evidence.verifier.report import openssl
from keyvault.evidence.verifier.sections import Section
from keyvault.evidence.verifier.sightings import FORKED
from keyvault.evidence.verifier.words import need, sha256_hex

STAMPED = re.compile(r"tsa/(0|[1-9][0-9]{0,18})-([a-z0-9][a-z0-9-]{0,49})\.tsr")
BESIDE = re.compile(r"tsa/([0-9]{1,19}\.(note|proof)|[a-z0-9][a-z0-9-]{0,49}\.pem)")
GIVEN_AT = re.compile(rb"(?m)^Time stamp: (\w{3} [ 0-9]\d \d\d:\d\d:\d\d)[.\d]* (\d{4}) GMT$")


class Stamps(Section):
    """Each token is over a checkpoint of this log, good, and the one that the log tells of."""

    claim = "time stamps are over checkpoints of this log, and good, says openssl"
    types = ("TIME.STAMPED",)

    def event(self, index: int, header: Any, payload: Any) -> None:  # noqa: ARG002 - as every section has it
        if payload is None:
            return
        name = f"tsa/{payload['size']}-{payload['authority']}.tsr"
        own = self.bundle.digests.get(name, payload["sha256"])
        self.report.at(name)
        need(own == payload["sha256"], f"is not the token that event {index} tells of")

    def finish(self) -> None:
        names = sorted(name for name in self.bundle.places if name.startswith("tsa/"))
        stamped = [(int(found[1]), found[2]) for found in map(STAMPED.fullmatch, names) if found]
        for name in names:
            self.report.at(name)
            need(STAMPED.fullmatch(name) or BESIDE.fullmatch(name), "is no file for time stamps")
        self.looked = len(stamped)
        for size, authority in sorted(stamped):
            self.check_note(size)
            at = self.check_token(size, authority)
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
            self.report.say("time", f"{authority} stamped the log of {size} events at {when} UTC")

    def check_note(self, size: int) -> None:
        """A token says nothing of these events unless its checkpoint leads to theirs."""
        keys = self.authority.services["log_keys"]
        newest = read_note(self.bundle.read(NEWEST), keys, self.report)
        self.report.at(f"tsa/{size}.note")
        note = self.bundle.read(f"tsa/{size}.note")
        origin, own, root, signers = read_note(note, keys, self.report)
        need((origin, own) == (newest[0], size) and signers, "no key of this log signed it")
        self.report.at(f"tsa/{size}.proof")
        numbers, tree, right = read_proof(self.bundle.read(f"tsa/{size}.proof"))
        need(numbers == [size, size, newest[1]], "is about other checkpoints")
        need(tree.root() == root and tree.close(right, newest[1]) == newest[2], FORKED)

    def check_token(self, size: int, authority: str) -> int:
        """Return POSIX seconds. Its certificate is judged by the second at which it stamped."""
        token = f"tsa/{size}-{authority}.tsr"
        self.report.at(token)
        own = f"tsa/{authority}.pem"
        need(self.report.stamp_roots or own in self.bundle, "has no roots here: give --tsa-ca")
        roots = self.report.stamp_roots or self.bundle.read(own)
        contents = (self.bundle.read(token), self.bundle.read(f"tsa/{size}.note"), roots)
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / name) for name in ("tsr", "note", "pem")]
            for number, path in enumerate(paths):
                Path(path).write_bytes(contents[number])
            told = GIVEN_AT.search(openssl("ts", "-reply", "-in", paths[0], "-text").stdout)
            need(told, "is no time stamp")
            text = b" ".join(told.groups()).decode() if told else ""
            at = calendar.timegm(time.strptime(text, "%b %d %H:%M:%S %Y"))
            check = ("-in", paths[0], "-data", paths[1], "-CAfile", paths[2], "-attime", str(at))
            done = openssl("ts", "-verify", *check)
        need(not done.returncode, "is not good: its authority did not stamp this checkpoint")
        return at

    def limits(self) -> Iterator[str]:
        if not self.looked:
            yield "times are the service's own: no time stamp authority has confirmed them"
        elif not self.report.stamp_roots:
            digests = ", ".join(
                f"{name[4:]} {sha256_hex(self.bundle.read(name))}"
                for name in sorted(self.bundle.places)
                if name.startswith("tsa/") and name.endswith(".pem")
            )
            yield f"time rests on the bundle's own roots ({digests}): give yours as --tsa-ca"
