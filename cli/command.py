"""How a function becomes a command: --json for all, examples in the help, plain help text."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from cli.output import STYLE

P = ParamSpec("P")
_JSON = inspect.Parameter(
    "json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Answer in JSON, on stdout.")],
)
# The settings, for commands that run on the service's own host.
ConfigFile = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", envvar="KEYVAULT_CONFIG", help="keyvault.toml"),
]
DEFAULT_CONFIG = Path("keyvault.toml")


def group(help_text: str) -> typer.Typer:
    """Make a noun, to hang verbs under."""
    return typer.Typer(
        help=help_text,
        short_help=help_text,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
    )


def command(
    app: typer.Typer, name: str, *examples: str
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Register a verb under `app`. Each example is a line that could be typed as it stands."""
    epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples)

    def register(function: Callable[P, None]) -> Callable[P, None]:
        # Said by itself, the sentence stands whole in the list of commands; else it is cut.
        first = " ".join(inspect.cleandoc(function.__doc__ or "").split()).partition(". ")[0]
        short = f"{first.rstrip('.')}."
        app.command(name, epilog=epilog, short_help=short)(_with_json(function))
        return function

    return register


def _with_json(function: Callable[P, None]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        STYLE.json = bool(kwargs.pop("json"))
        function(*args, **kwargs)

    signature = inspect.signature(function)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by typer
        parameters=[*signature.parameters.values(), _JSON]
    )
    run.__annotations__ = {**function.__annotations__, "json": _JSON.annotation}
    return run
