"""A card in a reader held against what its issuer signed: no PIN, and no service."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.desk.station import ReaderName, chosen_reader
from cli.output import answer, facts, say
from cli.remote.given import bytes_of
from hsm.pcsc.apdu import Channel
from hsm.pcsc.piv import PivCard
from hsm.pcsc.reader import PcscCard
from keyvault.domain import pem
from keyvault.domain.canonical import Document
from keyvault.domain.token_profiles import serial_text

app = group("")


@command(app, "check", "keyvault desk check --trust issuing.pem")
def check(
    trust: Annotated[
        list[Path],
        typer.Option("--trust", metavar="FILE", help="The authority that certified the signer."),
    ],
    reader: ReaderName = None,
) -> None:
    """Say whether everything on a card is as its issuer signed it.

    Whoever has a reader may ask: it takes no PIN and no service, and changes nothing.
    """
    from keyvault.operations import card_contents  # noqa: PLC0415  (its parsers are slow to load)

    believed = [pem.der_of(bytes_of(path), pem.CERTIFICATE) for path in trust]
    with PcscCard(chosen_reader(reader)) as card:
        read = PivCard(Channel(card)).get_data
        found = card_contents.check(read, believed, datetime.now(UTC))
    names = [each.name.lower().replace("_", " ") for each in found.objects]
    told: Document = {
        "token": str(found.guid),
        "signer": found.signer,
        "serial": serial_text(found.serial),
        "objects": names,
    }
    say("all of it is as its issuer signed it; whether the signer was revoked was not asked")
    answer(told, facts({**told, "objects": ", ".join(names)}.items()))
