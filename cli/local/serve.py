"""Run the service: all of it under one supervisor, or one process of it for a unit of its own."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from cli.command import DEFAULT_CONFIG, ConfigFile, command, group
from cli.output import answer, say
from keyvault.domain.errors import InvalidInputError
from keyvault.settings import Settings
from keyvault.supervisor import Supervisor, alone, services
from keyvault.supervisor import part as numbered


class Part(StrEnum):
    ALL = "all"
    API = "api"
    GATE = "gate"
    LOG_GATE = "log-gate"
    SPARE_GATE = "spare-gate"
    RECORDER = "recorder"
    SEALER = "sealer"
    FEEDER = "feeder"
    STAMPER = "stamper"
    SHIPPER = "shipper"
    CLERK = "clerk"


# Which settings a part needs that not every service has, and where they are described.
SECTIONS = {
    Part.SPARE_GATE: "[spare]: docs/custody.md",
    Part.FEEDER: "[witnesses]: docs/witness.md",
    Part.STAMPER: "[time]: docs/time.md",
    Part.SHIPPER: "[[streams]]: docs/streams.md",
}


app = group("Run the service.")


def _absent(part: Part, worker: int) -> InvalidInputError:
    if worker == 1:
        return InvalidInputError(
            f"these settings have no {part}", next_step=f"write {SECTIONS[part]}"
        )
    return InvalidInputError(
        f"these settings have no {part} number {worker} to be served alone",
        next_step="raise keys.workers for a gate, api.workers for an api; others are one each",
    )


@command(
    app,
    "serve",
    "keyvault serve --config keyvault.toml",
    "keyvault serve sealer --config keyvault.toml",
    "keyvault serve gate --worker 2 --config keyvault.toml",
)
def serve(
    part: Annotated[Part, typer.Argument(help="All of the service, or one process.")] = Part.ALL,
    worker: Annotated[
        int, typer.Option(min=1, help="Which of several: of keys.workers or api.workers.")
    ] = 1,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Run the service until SIGTERM; one line on stdout says that it is ready."""
    settings = Settings.load(config)
    known = services(settings, config)
    if part is not Part.ALL or worker > 1:
        name = numbered(part, worker)
        line = next((service.line for service in known if service.name == name), None)
        if line is None:
            raise _absent(part, worker)
        os.execv(line[0], line)  # noqa: S606  (this process becomes the part, for its unit)
    url = f"https://{settings.api.host}:{settings.api.port}"
    with alone(settings):
        Supervisor(known, say).run(lambda: answer({"ready": True, "url": url}, f"ready {url}"))
