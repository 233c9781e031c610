"""Steps of tokens: who signed each, and that nobody signed beside themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.sections import Section
from keyvault.evidence.verifier.words import dumps, need, seconds, unbase64

ALONE = {"nominate", "allocate", "dispatch", "count"}  # every other step takes two


class TokenSteps(Section):
    """Statements that people signed about tokens, as their events hold them."""

    claim = "steps of tokens are signed, by two where it takes two, with enrolled keys"
    types = (
        *("TOKEN.STOCKED", "TOKEN.NOMINATED", "TOKEN.SIGNED", "TOKEN.ALLOCATED"),
        *("TOKEN.DISPATCHED", "TOKEN.DELIVERED", "TOKEN.ACTIVATED", "TOKEN.RESUMED"),
        *("TOKEN.RETURNED", "TOKEN.DESTROYED", "PIN.RELEASED", "CUSTODY.TRANSFERRED"),
        "STOCK.COUNTED",
    )
    activations = 0

    def event(self, index: int, header: Any, payload: Any) -> None:  # noqa: ARG002 - as every section has it
        if payload is None or not isinstance(payload.get("statement"), dict):
            return  # withheld, or of a delivery whose statement is with its first token
        first, second = payload["statement"], payload.get("second")
        said = first["statement"]
        need(said["origin"] == self.authority.origin, "holds a statement of another log")
        need(header["op"] == said["id"], "holds the statement of another step")
        about = payload.get("token", said["token"])
        need(said["token"] in (None, about), "holds a statement about another token")
        if said["step"] == "activate":
            self.activations += 1  # by a key on the token, which no event holds
        else:
            self.check_words(said["person"], said["credential"], first["signature"], dumps(said))
        if second is not None:
            own = {name: value for name, value in second.items() if name != "signature"}
            message = dumps({"ctx": "keyvault-token-second-v1", **first, **own})
            same = second["person"] == said["second"] != said["person"]
            need(same, "the second signature is somebody else's, or the first signer's")
            self.check_words(second["person"], second["credential"], second["signature"], message)
        done = header["ty"] != "TOKEN.SIGNED" and header["out"] == "ok"
        need(second or not done or said["step"] in ALONE, "one signature where it takes two")

    def check_words(self, person: str, credential: str, signature: str, message: bytes) -> None:
        key = self.key_of(person, credential)
        need(key is not None, f"{person} signed about a token with a key that was never theirs")
        what = f"the signature of {person} about a token is not valid"
        self.report.signed(what, key or b"", unbase64(signature), message)

    def limits(self) -> Iterator[str]:
        if self.activations:
            yield "activations of tokens are signed by keys on the tokens, which are not in the log"


TAKERS = {"take-in": "person", "hand-over": "second", "deliver": "second", "give-back": "person"}


class Hands(Section):
    """Who had which token: every change of hands follows from the one before it."""

    claim = "tokens go from hand to hand, as people signed it"
    types = ("TOKEN.STOCKED", "CUSTODY.TRANSFERRED")

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.last: dict[str, tuple[int, str]] = {}  # of each token: the newest entry and its taker
        self.entries: list[tuple[int, int, str]] = []  # of the one that is asked about
        self.hidden = 0

    def event(self, index: int, header: Any, payload: Any) -> None:  # noqa: ARG002 - as every section has it
        if payload is None:
            self.hidden += 1
        elif header["out"] == "ok" and "taker" in payload:
            self.enter(payload["token"], payload)

    def enter(self, token: str, entry: Any) -> None:
        number, taker = entry["number"], entry["taker"]
        if isinstance(entry.get("statement"), dict):
            said = entry["statement"]["statement"]
            need(said[TAKERS[said["step"]]] == taker, "says that somebody has it who did not sign")
        before, had = self.last.get(token, (0, ""))
        need(number > before, "writes an entry of custody a second time")
        follows = before and number == before + 1
        need(not follows or entry["giver"] == had, "is from somebody who did not have the token")
        self.last[token] = number, taker
        if self.report.who_had is not None and self.report.who_had[0] == token:
            self.entries.append((seconds(entry["at"]), number, taker))

    def finish(self) -> None:
        if self.report.who_had is not None:
            token, at = self.report.who_had
            self.report.say("custody", f"token {token} at {at}: {self.answer(seconds(at))}")

    def answer(self, at: int) -> str:
        known = [number for _, number, _ in self.entries]
        if known != [*range(1, len(known) + 1)] or not known:
            return "not told, since entries of its custody are not in this bundle"
        if self.hidden:
            return f"open, since {self.hidden} changes of hands are withheld"
        had = [taker for since, _, taker in self.entries if since <= at]
        return f"{had[-1]} had it, as far as this bundle goes" if had else "nobody here had it"
