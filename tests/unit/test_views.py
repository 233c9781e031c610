"""Views of events: what other programs read must not be able to run, or to break out."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.telling import sentence
from keyvault.evidence.views.report import MAX_ACTS, Report
from keyvault.evidence.views.rows import (
    COLUMNS,
    Shown,
    cef_row,
    csv_head,
    csv_row,
    local,
    ndjson_row,
    ocsf_row,
)

SUMMER = 1_782_907_200_000  # 2026-07-01 12:00:00 UTC


def shown(payload=None, name="Alice Ash", **changes):
    header = {
        "v": 1,
        "ev": "e1",
        "ty": "KEY.SUSPENDED",
        "out": "ok",
        "op": "o1",
        "st": "key:1",
        "ks": 0,
        "ac": "person:alice",
        "as": 0,
        "ro": "key-custodian",
        "sc": "p/r/u",
        "n": "node-1",
        "bo": "b",
        "ns": 0,
        "t": SUMMER,
        "tm": 0,
        "cp": "",
        "pv": "",
    }
    return Shown(7, b"\xab" * 32, {**header, **changes}, payload or {"reason": "alarm"}, name)


def cells(event):
    rows = list(csv.reader(io.StringIO(csv_head() + csv_row(event))))
    assert [len(row) for row in rows] == [len(COLUMNS)] * 2
    return dict(zip(*rows, strict=True))


def test_local_time_stands_beside_utc():
    row = cells(shown())
    assert row["time_utc"] == "2026-07-01 12:00:00 UTC"
    assert row["time_local"] == "2026-07-01 13:00:00 BST"
    assert local(datetime(2026, 1, 1, tzinfo=UTC)).endswith("GMT")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_taken_for_a_formula(begin):
    row = cells(shown(name=f"{begin}HYPERLINK()", st=f"{begin}cmd"))
    assert row["name"].startswith("'")
    assert row["about"].startswith("'")


@given(st.text(max_size=40))
def test_a_cef_record_is_one_line_whose_fields_stay_apart(text):
    line = cef_row(shown(name=text, payload={"reason": text}))
    assert line.count("\n") == 1
    assert "\r" not in line
    head = line.replace("\\\\", "").replace("\\|", "").split("|")
    assert (head[0], head[4], head[6]) == ("CEF:0", "KEY.SUSPENDED", "8") or head[6] == "2"
    assert "cn1=7" in line


@pytest.mark.parametrize("kind", list(EventType))
def test_every_event_has_an_ocsf_class_and_what_that_class_asks_for(kind):
    body = json.loads(ocsf_row(shown(ty=str(kind))))
    assert body["type_uid"] == body["class_uid"] * 100 + body["activity_id"]
    assert body["category_uid"] == {3: 3, 4: 4, 6: 6}[body["class_uid"] // 1000]
    needed = {3002: "user", 3004: "entity", 3005: "user", 4001: "dst_endpoint", 6002: "app"}
    assert needed.get(body["class_uid"], "api") in body
    assert body["unmapped"]["leaf_sha256"] == "ab" * 32


def test_lines_of_json_are_one_event_each():
    body = json.loads(ndjson_row(shown(payload={"reason": "two\nlines"})))
    assert (body["index"], body["payload"]) == (7, {"reason": "two\nlines"})


def test_the_report_names_people_and_is_a_page_without_script():
    report = Report([("log", "x")], datetime(2026, 7, 2, tzinfo=UTC), {"person:alice": "Alice Ash"})
    for _ in range(MAX_ACTS + 3):
        report.add(shown(payload={"reason": "<script>alert(1)</script>"}))
    page = report.paper("00ff").html()
    assert "Alice Ash" in page
    assert "<script" not in page
    assert "3 more are in events.ndjson" in page
    assert "00ff" in page


@pytest.mark.parametrize("kind", list(EventType))
def test_every_event_can_be_told(kind):
    told = sentence(kind, Outcome.OK, "Alice Ash (person:alice)", {"reason": "alarm"})
    assert "Alice Ash" in told
    assert "alarm" in told
