"""What a document is made of, before anybody knows whether it becomes a page or paper."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import segno

from keyvault.domain.errors import InvalidInputError
from keyvault.paper.words import seen

MAX_QR = 2_000  # bytes: what a code at level M holds and a hand-held camera still reads


@dataclass(frozen=True)
class Heading:
    text: str
    level: int  # 1 to 3


@dataclass(frozen=True)
class Text:
    text: str
    fixed: bool  # in letters of one width, for what is compared letter by letter


@dataclass(frozen=True)
class Facts:
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]  # shares of the width; empty: all alike


@dataclass(frozen=True)
class Blank:
    label: str
    lines: int


@dataclass(frozen=True)
class Picture:
    svg: bytes
    caption: str
    width: float  # millimetres on paper; 0: as wide as the text


@dataclass(frozen=True)
class NewPage:
    pass


Block = Heading | Text | Facts | Table | Blank | Picture | NewPage


@dataclass
class Paper:
    """A document that is filled from top to bottom and then rendered, as often as one likes.

    `at` is the time that it carries: nothing in it comes from the clock. `banner` stands at the
    top of every page, for what must not be taken for something else, and `reference` at the foot.
    """

    title: str
    at: dt.datetime
    subtitle: str = ""
    banner: str = ""
    reference: str = ""
    blocks: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.title, self.subtitle = seen(self.title), seen(self.subtitle)
        self.banner, self.reference = seen(self.banner), seen(self.reference)

    def heading(self, text: str, level: int = 1) -> Self:
        return self._with(Heading(seen(text), level))

    def text(self, text: str, *, fixed: bool = False) -> Self:
        """Add a paragraph; `fixed` is for hashes and other text that is compared by letter."""
        return self._with(Text(seen(text), fixed))

    def facts(self, pairs: Iterable[tuple[str, object]]) -> Self:
        """Add names with their values, one below the other."""
        return self._with(Facts(tuple((seen(a), seen(str(b))) for a, b in pairs)))

    def table(
        self,
        heads: Sequence[str],
        rows: Iterable[Sequence[object]],
        widths: Sequence[float] = (),
    ) -> Self:
        """Add a table whose heads are repeated on each page. Rows are as long as the heads."""
        kept = tuple(tuple(seen(str(cell)) for cell in row) for row in rows)
        if any(len(row) != len(heads) for row in (*kept, widths or heads)):
            raise InvalidInputError("a row of a table has another length than its heads")
        return self._with(Table(tuple(map(seen, heads)), kept, tuple(widths)))

    def blank(self, label: str, lines: int = 1) -> Self:
        """Add lines to be filled in by hand."""
        return self._with(Blank(seen(label), lines))

    def picture(self, svg: str, caption: str = "", width: float = 0) -> Self:
        """Add a drawing; nothing that it names is loaded or run. Raises `InvalidInputError`."""
        if not svg.startswith("<svg") or re.search(r"<(\w+:)?image\b", svg, re.IGNORECASE):
            raise InvalidInputError("a picture is an SVG drawing without images in it")
        return self._with(Picture(svg.encode(), seen(caption), width))

    def qr(self, text: str, caption: str = "", width: float = 40) -> Self:
        """Add a QR code (ISO/IEC 18004, level M). Raises `InvalidInputError` above its size."""
        if len(text.encode()) > MAX_QR:
            raise InvalidInputError(f"a QR code holds at most {MAX_QR} bytes")
        return self.picture(_squares(segno.make_qr(text, error="m").matrix), caption, width)

    def page(self) -> Self:
        """Go on at the top of a new sheet."""
        return self._with(NewPage())

    def html(self) -> str:
        """Return one page that loads nothing, runs nothing and prints well."""
        from keyvault.paper.html import rendered  # noqa: PLC0415  (it knows this module's blocks)

        return rendered(self)

    def pdf(self) -> bytes:
        """Return an A4 document. Raises `InvalidInputError` when this host lacks the fonts."""
        from keyvault.paper.pdf import rendered  # noqa: PLC0415  (it knows this module's blocks)

        return rendered(self)

    def _with(self, block: Block) -> Self:
        self.blocks.append(block)
        return self


def _squares(matrix: Sequence[Sequence[int]]) -> str:
    side = len(matrix) + 8  # four modules of quiet zone on each side, by the standard
    dark = "".join(
        f"M{x + 4} {y + 4}h1v1h-1z"
        for y, row in enumerate(matrix)
        for x, module in enumerate(row)
        if module
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">'
        f'<rect width="{side}" height="{side}" fill="#fff"/><path d="{dark}" fill="#000"/></svg>'
    )
