"""Transcripts of ceremonies: each entry follows the one before it, and everybody signed by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.sections import Section
from keyvault.evidence.verifier.words import dumps, need, sha256_hex, unbase64


class Transcripts(Section):
    """The journal that `CEREMONY.CLOSED` holds, from the opening to its end."""

    claim = (
        "transcripts of ceremonies are whole and signed with enrolled keys by those who held them"
    )
    types = ("CEREMONY.CLOSED",)

    def event(self, index: int, header: Any, payload: Any) -> None:  # noqa: ARG002 - as every section has it
        if payload is None:
            return
        transcript = payload["transcript"]
        need(sha256_hex(dumps(transcript)) == payload["sha256"], "holds another transcript")
        script = sha256_hex(transcript["script"].encode())
        need(script == payload["script_sha256"], "holds another script than the one it names")
        entries = transcript["entries"]
        opening, last = entries[0]["details"], entries[-1]
        need(entries[0]["mark"] == "opened", "holds a ceremony that nobody opened")
        need(opening["script_sha256"] == script, "holds a ceremony by another script")
        need(opening["mode"] == "run", "holds a rehearsal")
        need(opening["ceremony"] == payload["ceremony"], "holds the transcript of another ceremony")
        self.check_entries(entries, {one["role"]: one for one in opening["people"]})
        everybody = {one["role"] for one in opening["people"]}
        whole = [entries[0]] + ([last] if last["mark"] == "closed" else [])
        signed = [{one["role"] for one in entry["signatures"]} for entry in whole]
        need(
            all(roles == everybody for roles in signed), "holds a ceremony that not all have signed"
        )
        ended = {"closed": "completed", "aborted": "aborted"}.get(last["mark"])
        need(ended == payload["outcome"], "says that a ceremony ended in another way than it did")

    def check_entries(self, entries: list[Any], people: dict[str, Any]) -> None:
        previous = "0" * 64
        for number, entry in enumerate(entries):
            follows = entry["number"] == number and entry["previous"] == previous
            need(follows, f"holds an entry {number} that does not follow the one before it")
            previous = sha256_hex(dumps(entry))
            unsigned = {name: value for name, value in entry.items() if name != "signatures"}
            for one in entry["signatures"]:
                self.check_entry_signed(unsigned, one, people[one["role"]])

    def check_entry_signed(self, entry: Any, one: Any, who: Any) -> None:
        key = unbase64(who["spki"])
        same = one["person"] == who["person"] and one["credential"] == sha256_hex(key)
        need(same and self.enrolled(who["person"], key), f"{one['person']} signed with another key")
        own = {name: value for name, value in one.items() if name != "signature"}
        message = dumps({**own, "ctx": "keyvault-ceremony-v1", "entry": entry})
        what = f"the signature of {one['person']} on entry {entry['number']} is not valid"
        self.report.signed(what, key, unbase64(one["signature"]), message)

    def enrolled(self, person: str, key: bytes) -> bool:
        """Whether the key was that person's to decide with, at any time up to now."""
        for state in self.authority.states:
            known = state.people.get(person, {}).get("credentials", {})
            if any(one["spki"] == key and not one["login_only"] for one in known.values()):
                return True
        return False

    def limits(self) -> Iterator[str]:
        if self.looked:
            yield "that a ceremony kept to its script is for whoever reads both: see its transcript"
