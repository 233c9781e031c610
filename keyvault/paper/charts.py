"""Pictures of time and amounts as SVG: plain shapes and letters, no script, no style sheet."""

import datetime as dt
import html
from collections.abc import Sequence
from dataclasses import dataclass

from keyvault.domain.errors import InvalidInputError
from keyvault.paper.words import seen

_WIDE, _LEFT, _RIGHT, _ROW = 800, 190, 20, 26
_ROOMY = 170  # of a bar that takes its note inside
_INK, _GREY, _RULE = "#1a1f26", "#49535f", "#d5dae1"
COLOURS = ("#1f6f8b", "#d1701f", "#4c8c4a", "#8a4f9e", "#a4161a", "#7a7f87")
MAX_ROWS = 500


@dataclass(frozen=True)
class Span:
    """A bar of a timeline; one that ends where it begins is drawn as a mark."""

    label: str
    begin: dt.datetime
    end: dt.datetime
    note: str = ""
    colour: int = 0  # which of COLOURS


def timeline(title: str, spans: Sequence[Span], now: dt.datetime | None = None) -> str:
    """Draw spans below each other over one axis of time; `now` is a line across all of them."""
    _few(spans, MAX_ROWS)
    times = [t for s in spans for t in (s.begin, s.end)] + ([now] if now else [])
    if not times:
        return _svg(title, 40, [])
    first, last = min(times), max(times)
    whole = max((last - first).total_seconds(), 1.0)

    def place(at: dt.datetime) -> float:
        return _LEFT + (_WIDE - _LEFT - _RIGHT) * (at - first).total_seconds() / whole

    high = 56 + _ROW * len(spans)
    parts = _time_axis(first, last, high)
    for at, span in enumerate(spans):
        parts += _span(span, 48 + _ROW * at, place(span.begin), place(span.end))
    if now:
        parts.append(_rule(place(now), 36, high - 8, COLOURS[4]))
    return _svg(title, high, parts)


def bars(title: str, amounts: Sequence[tuple[str, float]], unit: str = "") -> str:
    """Draw amounts (zero or more) as bars below each other, each with its figure."""
    _few(amounts, MAX_ROWS)
    most = max((amount for _, amount in amounts), default=0) or 1
    parts = []
    for at, (label, amount) in enumerate(amounts):
        top, long = 34 + _ROW * at, (_WIDE - _LEFT - 110) * max(amount, 0) / most
        parts += [
            _words(_LEFT - 8, top + 14, label, anchor="end"),
            _box(_LEFT, top, long, COLOURS[0]),
            _words(_LEFT + long + 6, top + 14, f"{amount:,g} {unit}".strip(), colour=_GREY),
        ]
    return _svg(title, 44 + _ROW * len(amounts), parts)


def _few(things: Sequence[object], most: int) -> None:
    if len(things) > most:
        raise InvalidInputError(
            f"a picture holds at most {most} of these; {len(things)} were given"
        )


def _time_axis(first: dt.datetime, last: dt.datetime, high: int) -> list[str]:
    form = "%Y-%m-%d" if last - first > dt.timedelta(days=3) else "%d %b %H:%M:%S"
    parts = []
    for step in range(5):
        x = _LEFT + (_WIDE - _LEFT - _RIGHT) * step / 4
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"  # noqa: PLR2004  (both ends)
        parts += [
            _rule(x, 38, high - 8, _RULE),
            _words(x, 33, (first + (last - first) * step / 4).strftime(form), anchor, _GREY, 10),
        ]
    return parts


def _span(span: Span, top: float, begin: float, end: float) -> list[str]:
    colour = COLOURS[span.colour % len(COLOURS)]
    parts = [_words(_LEFT - 8, top + 12, span.label, anchor="end")]
    if end - begin < 1:
        parts.append(f'<circle cx="{begin:.1f}" cy="{top + 8}" r="5" fill="{colour}"/>')
    else:
        parts.append(_box(begin, top, end - begin, colour))
    if span.note and end - begin > _ROOMY:
        parts.append(_words(begin + 6, top + 12, span.note, colour="#ffffff", size=10))
    elif span.note:
        late = end > _WIDE - _ROOMY
        at = begin - 8 if late else end + 8
        parts.append(_words(at, top + 12, span.note, "end" if late else "start", _GREY, 10))
    return parts


def _box(x: float, y: float, wide: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="16" rx="2" '
        f'fill="{colour}" fill-opacity="0.85"/>'
    )


def _rule(x: float, y: float, end: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{end}" stroke="{colour}"/>'


def _words(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    colour: str = _INK,
    size: int = 12,
) -> str:
    most = 24
    kept = seen(text)
    kept = kept if len(kept) <= most else f"{kept[: most - 1]}…"
    return (
        f'<text x="{x:.1f}" y="{y}" font-family="sans" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{html.escape(kept)}</text>'
    )


def _svg(title: str, high: int, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    name = html.escape(seen(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {high}" '
        f'width="{_WIDE}" height="{high}" role="img"><title>{name}</title>\n'
        f'<rect width="{_WIDE}" height="{high}" fill="#ffffff"/>\n{inner}\n</svg>'
    )
