"""A document as one page of HTML: no script, nothing loaded, every word escaped."""

import html
from base64 import b64encode
from collections.abc import Iterable

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

_STYLE = """
:root { color-scheme: light; }
body { font: 11pt/1.45 "DejaVu Sans", "Segoe UI", Helvetica, Arial, sans-serif; color: #1a1f26;
  background: #fff; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7em; margin: 0; line-height: 1.2; }
h2 { font-size: 1.25em; margin: 1.8em 0 .5em; border-bottom: 1px solid #b8c0ca; }
h3 { font-size: 1.05em; margin: 1.4em 0 .3em; } h4 { font-size: 1em; margin: 1.2em 0 .2em; }
h2, h3, h4 { break-after: avoid; }
p, td, th, dd, dt { overflow-wrap: anywhere; white-space: pre-wrap; }
.subtitle { color: #49535f; margin: .2em 0 1.2em; }
.banner { border: 2px solid #a4161a; color: #a4161a; font-weight: bold; padding: .4em .8em;
  text-align: center; margin-bottom: 1.2em; }
.fixed { font-family: "DejaVu Sans Mono", Consolas, monospace; font-size: .88em; }
table { border-collapse: collapse; width: 100%; margin: .8em 0; font-size: .92em; }
thead { display: table-header-group; } tr { break-inside: avoid; }
th { text-align: left; background: #eef1f5; } th, td { border: 1px solid #b8c0ca;
  padding: .3em .5em; vertical-align: top; }
dl { display: grid; grid-template-columns: minmax(9rem, 30%) 1fr; margin: .8em 0; gap: .15em 1em; }
dt { color: #49535f; } dd { margin: 0; }
.blank { break-inside: avoid; margin: 1em 0; }
.line { border-bottom: 1px solid #1a1f26; height: 1.9em; }
figure { margin: 1em 0; break-inside: avoid; } figure img { max-width: 100%; }
figcaption, footer { color: #49535f; font-size: .85em; }
footer { border-top: 1px solid #b8c0ca; margin-top: 2.5em; padding-top: .5em; }
.sheet { break-before: page; }
@page { size: A4; margin: 18mm 18mm 20mm;
  @bottom-right { content: "page " counter(page) " of " counter(pages); } }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 10pt; } }
"""


def rendered(paper: Paper) -> str:
    parts = [_head(paper), *map(_block, paper.blocks), _foot(paper)]
    return "\n".join(parts)


def _head(paper: Paper) -> str:
    banner = f'<p class="banner">{_text(paper.banner)}</p>\n' if paper.banner else ""
    below = f'<p class="subtitle">{_text(paper.subtitle)}</p>\n' if paper.subtitle else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(paper.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{banner}<h1>{_text(paper.title)}</h1>\n{below}"
    )


def _foot(paper: Paper) -> str:
    said = (paper.reference, f"{paper.at:%Y-%m-%d %H:%M:%S} UTC")
    return f"<footer>{_text(' · '.join(filter(None, said)))}</footer>\n</body>\n</html>\n"


def _block(block: Block) -> str:  # noqa: PLR0911  (one answer for each kind of block)
    match block:
        case Heading(text, level):
            return f"<h{level + 1}>{_text(text)}</h{level + 1}>"
        case Text(text, fixed):
            look = "fixed" if fixed else "plain"
            return f'<p class="{look}">{_text(text)}</p>'
        case Facts(pairs):
            inner = "".join(f"<dt>{_text(a)}</dt><dd>{_text(b)}</dd>" for a, b in pairs)
            return f"<dl>{inner}</dl>"
        case Table():
            return _table(block)
        case Blank(label, lines):
            ruled = '<div class="line"></div>' * lines
            return f'<div class="blank">{_text(label)}{ruled}</div>'
        case Picture():
            return _picture(block)
        case NewPage():
            return '<div class="sheet"></div>'


def _table(table: Table) -> str:
    whole = sum(table.widths)
    columns = "".join(f'<col style="width:{100 * w / whole:.2f}%">' for w in table.widths)
    rows = "".join(_row("td", row) for row in table.rows)
    heads = f"<thead>{_row('th', table.heads)}</thead>"
    return f"<table><colgroup>{columns}</colgroup>{heads}<tbody>{rows}</tbody></table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _picture(picture: Picture) -> str:
    # As an image, a drawing can neither run a script nor load anything.
    source = f"data:image/svg+xml;base64,{b64encode(picture.svg).decode()}"
    width = f"width:{picture.width:g}mm" if picture.width else "width:100%"
    alternative = html.escape(picture.caption, quote=True)
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img alt="{alternative}" style="{width}" src="{source}">{caption}</figure>'


def _text(text: str) -> str:
    # Each piece is isolated, so that text written from right to left cannot reorder its neighbours.
    return f'<bdi dir="auto">{html.escape(text)}</bdi>'
