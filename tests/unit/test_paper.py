"""Documents for people: whatever strangers called things, they are safe, whole and repeatable."""

import datetime as dt
import html
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.domain.errors import InvalidInputError
from keyvault.paper import Paper, charts
from keyvault.paper.model import MAX_QR
from keyvault.paper.words import seen

AT = dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)
HOSTILE = ("<script>alert(1)</script>", "a\u202eb", "שלום", "Ωμέγα", "漢字", "\ue000", "x" * 10_000)


def _paper():
    paper = Paper("Title & <b>", AT, subtitle="Leeds", banner="REHEARSAL", reference="no. 1")
    paper.heading("People").facts([("name", name) for name in HOSTILE])
    paper.table(["no", "what"], [[at, "word " * 20] for at in range(80)], [1, 6])
    paper.table(["long", "longer"], [["y" * 3_000, "word " * 400]])
    paper.text("a" * 64, fixed=True).blank("Signature", 2).qr("hello").page()
    return paper.picture(charts.bars("amounts", [("one", 1), ("<two>", 2.5)], "keys"), "a chart")


def test_a_document_is_the_same_bytes_each_time_and_every_page_is_counted():
    one, two = _paper().pdf(), _paper().pdf()
    assert one == two
    assert one.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", one)) > 4
    assert _paper().html() == _paper().html()


def test_a_page_loads_nothing_runs_nothing_and_says_what_strangers_wrote():
    page = _paper().html()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert html.escape(HOSTILE[0]) in page
    assert "a[U+202E]b" in page
    assert "Title &amp; &lt;b&gt;" in page


@given(st.text(max_size=200))
def test_no_text_hides_a_character(text):
    shown = seen(text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b\ue000]", shown)
    assert seen(shown) == shown


@settings(deadline=None)  # on a busy machine anything may take a while
@given(st.text(max_size=60))
def test_a_drawing_is_well_formed_whatever_things_are_called(name):
    spans = [
        charts.Span(name, AT, AT, name),
        charts.Span(name, AT, AT + dt.timedelta(days=9), name),
    ]
    for svg in (
        charts.timeline(name, spans, AT),
        charts.bars(name, [(name, 0.0)]),
    ):
        root = ET.fromstring(svg)  # noqa: S314  (our own)
        assert {e.tag.rpartition("}")[2] for e in root.iter()} <= {
            *("svg", "title", "rect", "text", "line", "circle", "polyline")
        }


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInputError, match="QR"):
        Paper("t", AT).qr("x" * (MAX_QR + 1))
    with pytest.raises(InvalidInputError, match="row"):
        Paper("t", AT).table(["a", "b"], [["only one"]])
    with pytest.raises(InvalidInputError, match="SVG"):
        Paper("t", AT).picture("no picture")
