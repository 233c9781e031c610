"""Registers as files: RFC 4180, and no formula for a spreadsheet."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.registers import COLUMNS, Register, as_csv, as_json

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=5))
def test_what_is_written_is_read_back(rows):
    pages = [[dict(zip("ab", row, strict=True))] for row in rows]
    data = b"".join(as_csv("ab", pages)).decode()
    read = list(csv.reader(io.StringIO(data, newline="")))
    plain = [[cell.removeprefix("'") if cell[:1] == "'" else cell for cell in row] for row in read]
    expected = [[cell.removeprefix("'") for cell in row] for row in rows]
    assert plain[1:] == expected
    assert data.endswith("\r\n")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell):
    read = csv.reader(io.StringIO(b"".join(as_csv("a", [[{"a": cell}]])).decode(), newline=""))
    assert list(read)[1] == [f"'{cell}"]


def test_json_is_one_document_whatever_the_pages():
    pages = [[{"id": "1"}], [], [{"id": "2"}, {"id": "3", "stranger": "x"}]]
    told = json.loads(b"".join(as_json(Register.KEYS, ("id",), pages, "now")))
    assert [row["id"] for row in told["items"]] == ["1", "2", "3"]
    assert told["columns"] == ["id"]


def test_a_register_is_read_no_faster_than_it_is_written():
    taken = []

    def pages():
        for number in range(3):
            taken.append(number)
            yield [{"id": str(number)}]

    parts = as_csv(COLUMNS[Register.KEYS], pages())
    next(parts)
    assert taken == []
    next(parts)
    assert taken == [0]
