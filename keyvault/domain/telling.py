"""Any event in a sentence, for people who do not read types and payloads."""

from collections.abc import Mapping
from typing import Any

from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.life import WORDS, words

_ENDINGS = {
    Outcome.INTENT: " (begun)",
    Outcome.FAIL: " (it failed)",
    Outcome.REFUSED: " (refused)",
    Outcome.UNKNOWN: " (outcome unknown)",
}
_SAID = ("reason", "key", "person", "system", "command", "token", "serial", "place", "version")
_TEXT_LIMIT = 120  # characters of one detail


def sentence(kind: EventType, outcome: Outcome, actor: str, payload: Mapping[str, Any]) -> str:
    """Say what happened and who did it; `actor` is their name where it is known."""
    if kind in WORDS:
        return words(kind, outcome, actor, dict(payload))
    noun, _, verb = str(kind).partition(".")
    what = f"{noun.capitalize()} {verb.lower().replace('_', ' ')}"
    asked = _asked(payload)
    told = [
        f"{name} {str(asked[name])[:_TEXT_LIMIT]}"
        for name in _SAID
        if isinstance(asked.get(name), str | int) and asked[name] != ""
    ]
    details = f": {', '.join(told)}" if told else ""
    return f"{what}{_ENDINGS.get(outcome, '')}, by {actor}{details}"


def _asked(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a payload says, with the command and its parameters where it holds a request."""
    holder = payload.get("record", payload)
    request = holder.get("request", {}) if isinstance(holder, dict) else {}
    if not isinstance(request, dict):
        return payload
    named = {"command": request["command"]} if "command" in request else {}
    return {**payload, **request.get("parameters", {}), **named}
