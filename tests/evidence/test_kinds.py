"""The corpus of doctored bundles, and the page that lists it."""

from tests.evidence import kinds

PAGE = kinds.HERE.parents[1] / "docs" / "doctored.md"
AT_LEAST = 40


def test_the_page_lists_every_kind_of_doctored_bundle():
    assert PAGE.read_text() == kinds.page(), "run: make doctored"
    assert sum(row.startswith("| ") for row in PAGE.read_text().splitlines()) > AT_LEAST
