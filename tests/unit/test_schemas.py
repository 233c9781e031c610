"""What events say, held against the closed list by the house and by the auditor's program."""

from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.schemas import SCHEMAS, misfit
from keyvault.evidence.verifier.catalogue import Catalogue

VALUES = {"text": "x", "number": 3, "bool": True, "list": [1], "object": {"a": 1}, "null": None}


def event_of(kind: EventType, payload: dict[str, object]) -> AuditEvent:
    return AuditEvent(kind, Outcome.OK, uuid4(), "log", "service:api", payload)


@st.composite
def events(draw: st.DrawFn) -> AuditEvent:
    """An event that fits, or that differs in a kind, lacks a field, or has one too many."""
    kind = draw(st.sampled_from(EventType))
    payload: dict[str, object] = {}
    for name, kinds in SCHEMAS[kind].fields.items():
        if name in SCHEMAS[kind].needed or draw(st.booleans()):
            payload[name] = VALUES[draw(st.sampled_from(sorted(kinds)))]
    for name in draw(st.lists(st.sampled_from([*payload, "pin"]), max_size=1)):
        payload[name] = draw(st.sampled_from([*VALUES.values()]))
    for name in draw(st.lists(st.sampled_from(sorted(payload) or [""]), max_size=1)):
        payload.pop(name, None)
    return event_of(kind, payload)


@settings(deadline=None)
@given(events())
def test_house_and_assessor_read_the_list_alike(event: AuditEvent):
    told = Catalogue()
    told.look(0, str(event.type), event.payload)
    assert misfit(event) == told.first.removeprefix("event 0: ")


def test_kinds_are_those_of_json():
    class Told(str):
        __slots__ = ()

    said = {"name": Told("siem"), "reason": "no", "position": 3}
    assert misfit(event_of(EventType.STREAM_FAILED, said)) == ""
    for wrong in (True, 3.0, "3", None, b"3"):
        words = "position of STREAM.FAILED is not in the list, or of another kind"
        assert misfit(event_of(EventType.STREAM_FAILED, {**said, "position": wrong})) == words
    page = {"query": {}, "manifest_sha256": "", "start": 0, "end": 1, "size": 1}
    assert misfit(event_of(EventType.AUDIT_EXPORTED, page)) == ""
