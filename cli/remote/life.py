"""The whole life of a key, and what ends when: in words, as data, as pictures."""

from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer, facts, say, table
from cli.remote import pictures
from cli.remote.client import connect
from cli.remote.keys import KeyId
from cli.state import SessionDir

app = group("The lives of keys.")

Svg = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw it here, too.")]


@command(app, "life", "keyvault keys life KEY", "keyvault keys life KEY --svg life.svg")
def life(key: KeyId, svg: Svg = None, session: SessionDir = None) -> None:
    """Tell the whole life of a key in plain words, the oldest first."""
    found = connect(session).get(f"/v1/keys/{key}/life")
    _draw(svg, pictures.timeline(found))
    say("; ".join(f"{verb} {at or 'not yet'}" for verb, at in found["verbs"].items()))
    rows = [(one["at"], one["words"]) for one in found["moments"]]
    if found["uses"]:
        rows.append((found["last_use"], f"Used {found['uses']} times since {found['first_use']}"))
    answer(found, facts(rows))
    if found["more"]:
        say(f"later moments: keyvault keys history {key}")


@command(app, "forecast", "keyvault keys forecast", "keyvault keys forecast --svg forecast.svg")
def forecast(
    scope: Annotated[str | None, typer.Option(metavar="P/R/U", help="Only of this scope.")] = None,
    svg: Svg = None,
    session: SessionDir = None,
) -> None:
    """Count keys and certificates that end within 30, 90 and 180 days, by class and scope."""
    found = connect(session).get("/v1/keys/forecast", scope=scope)
    _draw(svg, pictures.forecast(found["items"]))
    names = ("what", "group", "scope", *pictures.SPANS)
    rows = [[one[name] for name in names] for one in found["items"]]
    columns = ("what", "class", "scope", *(called for _, called in pictures.SPANS.values()))
    answer(found, table(columns, rows))


def _draw(file: Path | None, picture: str) -> None:
    if file is not None:
        file.write_text(picture, encoding="utf-8")
        say(f"drawn: {file}")
