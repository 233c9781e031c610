"""A card in a reader held against what its issuer signed: no PIN, and no service."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from keyvault.operations.card_contents import Contents

app = group("")
ON_NO_LIST = "the signer is on no list that you gave"
LIST_LIMIT = 1 << 23  # bytes of a CRL: one of ours with its 100,000 certificates has less


@command(app, "check", "keyvault desk check --trust issuing.pem --crl issuing.crl")
def check(
    trust: Annotated[
        list[Path],
        typer.Option("--trust", metavar="FILE", help="The authority that certified the signer."),
    ],
    crl: Annotated[
        list[Path] | None,
        typer.Option(
            "--crl", metavar="FILE", help="What that authority revoked (keyvault ca crl)."
        ),
    ] = None,
    reader: ReaderName = None,
) -> None:
    """Say whether everything on a card is as its issuer signed it.

    Whoever has a reader may ask: it takes no PIN and no service, and changes nothing.
    """
    from keyvault.operations import card_contents  # noqa: PLC0415  (its parsers are slow to load)

    believed = [pem.der_of(bytes_of(path), pem.CERTIFICATE) for path in trust]
    revoked = [bytes_of(path, LIST_LIMIT) for path in crl or ()]
    with PcscCard(chosen_reader(reader)) as card:
        read = PivCard(Channel(card)).get_data
        found = card_contents.check(read, believed, datetime.now(UTC), revoked)
    say("all of it is as its issuer signed it")
    say(ON_NO_LIST if revoked else "whether the signer was revoked was not asked: give --crl")
    _tell(found)


def _tell(found: "Contents") -> None:
    names = [each.name.lower().replace("_", " ") for each in found.objects]
    told: Document = {
        "token": str(found.guid),
        "signer": found.signer,
        "serial": serial_text(found.serial),
        "objects": names,
    }
    answer(told, facts({**told, "objects": ", ".join(names)}.items()))
