"""Pictures in SVG that load nothing: when keys end, and the life of one."""

from collections.abc import Iterator, Sequence
from html import escape

from keyvault.domain.canonical import Document
from keyvault.domain.times import time_of

SPANS = {  # which counts, in which colour, called what
    "ended": ("#7f1d1d", "ended"),
    "within_30": ("#dc2626", "30 days"),
    "within_90": ("#f59e0b", "90 days"),
    "within_180": ("#2563eb", "180 days"),
}
_LEFT, _WIDTH, _ROW = 360, 480, 26  # pixels


def forecast(rows: Sequence[Document]) -> str:
    """A bar for each class and scope, in parts by when they end."""
    most = max([1, *(sum(row[name] for name in SPANS) for row in rows)])
    return _picture(len(rows) + 1, [*_legend(), *_bars(rows, most)])


def _legend() -> Iterator[str]:
    for at, (colour, name) in enumerate(SPANS.values()):
        left = _LEFT + at * 110
        yield f'<rect x="{left}" y="6" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{left + 18}" y="17">{name}</text>'


def _bars(rows: Sequence[Document], most: int) -> Iterator[str]:
    for at, row in enumerate(rows, 1):
        top, left = at * _ROW + 4, float(_LEFT)
        name = f"{row['what']} {row['group']} {row['scope']}"
        yield f'<text x="{_LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
        for span, (colour, _) in SPANS.items():
            wide = _WIDTH * row[span] / most
            yield (
                f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="18" fill="{colour}">'
                f"<title>{row[span]}</title></rect>"
            )
            left += wide
        total = sum(row[span] for span in SPANS)
        yield f'<text x="{left + 6:.1f}" y="{top + 14}">{total}</text>'


def timeline(life: Document) -> str:
    """A point for each moment, by time from left to right, and its words beside it."""
    moments = life["moments"]
    times = [time_of(one["at"]).timestamp() for one in moments]
    first, span = min(times, default=0.0), max(max(times, default=0.0) - min(times, default=0), 1)
    parts = [f'<text x="8" y="17">{escape(life["key"]["label"])} ({life["key"]["id"]})</text>']
    for at, (one, time) in enumerate(zip(moments, times, strict=True), 1):
        left, top = 20 + 120 * (time - first) / span, at * _ROW + 14
        colour = "#dc2626" if one["outcome"] != "ok" else "#2563eb"
        parts.append(f'<circle cx="{left:.1f}" cy="{top}" r="5" fill="{colour}"/>')
        said = escape(f"{one['at']}  {one['words']}")
        parts.append(f'<text x="160" y="{top + 5}">{said}</text>')
    return _picture(len(moments) + 1, parts, 1_400)


def _picture(rows: int, parts: Sequence[str], width: int = _LEFT + _WIDTH + 60) -> str:
    size = f'width="{width}" height="{rows * _ROW + 10}"'
    style = 'font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>\n"])
