"""A document on A4: heads repeated, pages counted, the same bytes for the same document."""

import datetime as dt
import logging
import re
from collections.abc import Container
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from fpdf import FPDF
from fpdf.bidi import BidiParagraph
from fpdf.fonts import FontFace

from keyvault.domain.errors import InvalidInputError
from keyvault.paper.model import (
    Blank,
    Block,
    Facts,
    Heading,
    NewPage,
    Paper,
    Picture,
    Table,
    Text,
)
from keyvault.paper.words import runs_leftward, seen, within

FONTS = Path("/usr/share/fonts/truetype/dejavu")
_FACES = (
    ("sans", "", "DejaVuSans.ttf"),
    ("sans", "B", "DejaVuSans-Bold.ttf"),
    ("mono", "", "DejaVuSansMono.ttf"),
)
_INK, _GREY, _RULE, _SHADE, _RED = "#1a1f26", "#49535f", "#b8c0ca", "#eef1f5", "#a4161a"
_LINE = 5.0  # millimetres
_ABOVE = 24.0  # millimetres that a heading and its space take
_VIEW = re.compile(rb'viewBox="0 0 ([0-9.]+) ([0-9.]+)"')
_PAGES = "\ue0000000"  # as wide as any number of pages; `seen` lets no text hold it
_LONG = 200  # characters of a cell, from which on somebody looks how high it gets
_HIGH = 36  # lines of a cell on one page; the rest goes into the row below

logging.getLogger("fpdf").setLevel(logging.ERROR)  # a drawing's oddities are no news to operators
logging.getLogger("fontTools").setLevel(logging.ERROR)


def rendered(paper: Paper) -> bytes:
    pdf = _Sheets(paper)
    pdf.begin()
    for block, following in zip_longest(paper.blocks, paper.blocks[1:]):
        if isinstance(block, Heading) and isinstance(following, Picture):
            pdf.keep_together(following)
        pdf.put(block)
    return bytes(pdf.output())


class _Sheets(FPDF):
    def __init__(self, paper: Paper) -> None:
        super().__init__(format="A4")
        self.paper = paper
        self.glyphs: dict[str, Container[int]] = {}
        self._take_fonts()
        at = paper.at if paper.at.tzinfo else paper.at.replace(tzinfo=dt.UTC)
        self.set_creation_date(at)
        self.set_title(paper.title)
        self.set_creator("keyvault")
        self.set_lang("en")
        self.alias_nb_pages(_PAGES)
        self.set_margins(20, 18, 20)
        self.set_auto_page_break(True, margin=22)

    def _take_fonts(self) -> None:
        for family, style, name in _FACES:
            if not (FONTS / name).is_file():
                raise InvalidInputError(
                    f"the font {name} is not on this host",
                    next_step="Install the Debian package fonts-dejavu-core.",
                )
            self.add_font(family, _style(style), FONTS / name)
            face: Any = self.fonts[family + style]
            self.glyphs[family + style] = face.cmap

    def header(self) -> None:
        if self.paper.banner:
            self._font("B", 9, _RED)
            self.set_draw_color(_RED)
            self._line(self.paper.banner, align="C", border=1, height=7)
            self.ln(3)
        if self.page_no() > 1:
            self._font("", 8, _GREY)
            self._line(_short(self.paper.title, 90))
            self.ln(3)

    def footer(self) -> None:
        self.set_y(-15)
        self._font("", 7.5, _GREY)
        left = _short(self.paper.reference or self.paper.title, 100)
        self.cell(130, 5, self._fit(left, "sans"))
        self.cell(0, 5, f"page {self.page_no()} of {_PAGES}", align="R")

    def begin(self) -> None:
        self.add_page()
        self._font("B", 17)
        self._line(self.paper.title, height=8)
        self._font("", 9.5, _GREY)
        when = f"{self.paper.at:%Y-%m-%d %H:%M:%S} UTC"
        self._line(" · ".join(filter(None, (self.paper.subtitle, when))))
        self.ln(4)

    def keep_together(self, picture: Picture) -> None:
        """Begin a page if a heading and this picture below it do not fit on what is left."""
        size = _VIEW.search(picture.svg)
        width = min(picture.width or self.epw, self.epw)
        height = width * float(size[2]) / float(size[1]) if size else 0.0
        self._room(min(_ABOVE + height, self.eph - _ABOVE))

    def put(self, block: Block) -> None:
        match block:
            case Heading():
                self._heading(block)
            case Text(text, fixed):
                self._font("", 8.5 if fixed else 9.5, family="mono" if fixed else "sans")
                self._line(text)
                self.ln(2)
            case Facts(pairs):
                self._grid(None, pairs, (2.5, 7.5))
            case Table(heads, rows, widths):
                self._grid(heads, rows, widths or tuple(1.0 for _ in heads))
            case Blank():
                self._blank(block)
            case Picture():
                self._picture(block)
            case NewPage():
                self.add_page()

    def _heading(self, heading: Heading) -> None:
        size = {1: 13.0, 2: 11.0}.get(heading.level, 9.5)
        self._room(24 if heading.level < 3 else 45)  # noqa: PLR2004  (so that a step stays whole)
        self.ln(3)
        self._font("B", size)
        self._line(heading.text, height=6)
        self.ln(1.5)

    def _blank(self, blank: Blank) -> None:
        self._room(8 + 8 * blank.lines)
        self._font("", 9.5)
        self._line(blank.label)
        self.set_draw_color(_INK)
        for _ in range(blank.lines):
            self.ln(8)
            self.line(self.l_margin, self.y, self.w - self.r_margin, self.y)
        self.ln(4)

    def _picture(self, picture: Picture) -> None:
        width = min(picture.width or self.epw, self.epw)
        self.image(BytesIO(picture.svg), w=width, keep_aspect_ratio=True)
        if picture.caption:
            self._font("", 8.5, _GREY)
            self._line(picture.caption)
        self.ln(3)

    def _grid(
        self,
        heads: tuple[str, ...] | None,
        rows: tuple[tuple[str, ...], ...],
        widths: tuple[float, ...],
    ) -> None:
        if not rows and heads is None:
            return
        self._font("", 8.5)
        self.set_draw_color(_RULE)
        bold = FontFace(emphasis="BOLD", color=_INK, fill_color=_SHADE)
        look: dict[str, Any] = {"headings_style": bold} if heads else {"borders_layout": "NONE"}
        look |= {"first_row_as_headings": bool(heads), "text_align": "LEFT", "v_align": "TOP"}
        with self.table(col_widths=widths, line_height=4.4, padding=(0.9, 1.4), **look) as table:
            if heads:
                table.row([self._fit(head, "sansB") for head in heads])
            for row in rows:
                for part in self._parts(row, widths):
                    table.row(part)
        self.ln(3)

    def _parts(self, row: tuple[str, ...], widths: tuple[float, ...]) -> list[list[str]]:
        """Cut a row that would be higher than a page into rows below each other."""
        cells = [self._fit(cell, "sans") for cell in row]
        if all(len(cell) <= _LONG and cell.count("\n") < _HIGH for cell in cells):
            return [cells]
        columns = [
            self._cut(cell, self.epw * width / sum(widths) - 3)
            for cell, width in zip(cells, widths, strict=True)
        ]
        high = max(map(len, columns))
        return [[c[at] if at < len(c) else "" for c in columns] for at in range(high)]

    def _cut(self, cell: str, width: float) -> list[str]:
        answer: Any = self.multi_cell(width, _LINE, cell, dry_run=True, output="LINES")
        lines: list[str] = answer or [""]
        return ["\n".join(lines[at : at + _HIGH]) for at in range(0, len(lines), _HIGH)]

    def _room(self, height: float) -> None:
        if self.will_page_break(height):
            self.add_page()

    def _font(self, style: str, size: float, colour: str = _INK, family: str = "sans") -> None:
        self.set_font(family, _style(style), size)
        self.set_text_color(colour)

    def _line(
        self, text: str, *, align: str = "L", border: Literal[0, 1] = 0, height: float = _LINE
    ) -> None:
        face = self.font_family + self.font_style
        self.multi_cell(
            0,
            height,
            self._fit(text, face),
            align=align,
            border=border,
            new_x="LMARGIN",
            new_y="NEXT",
        )

    def _fit(self, text: str, face: str) -> str:
        """Return what this face can draw, in the order of the eye."""
        text = within(seen(text), self.glyphs[face])
        if not runs_leftward(text):
            return text
        lines = text.split("\n")
        return "\n".join(BidiParagraph(line).get_reordered_string() for line in lines)


def _style(style: str) -> Literal["", "B"]:
    return "B" if style else ""


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
