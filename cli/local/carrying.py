"""The service's side of its witnesses: files for one without a network, and the anchor file."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.command import DEFAULT_CONFIG, ConfigFile, command, group
from cli.local.layout import write_new
from cli.output import answer, facts, say
from keyvault import bootstrap
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, NotFoundError, RolledBackError
from keyvault.domain.notes import Note
from keyvault.domain.tree import consistency_proof
from keyvault.domain.witnessing import MAX_REQUEST_SIZE, AddCheckpoint
from keyvault.operations.vault import Vault
from keyvault.settings import Settings
from keyvault.store.audit import StoredCheckpoint
from keyvault.store.unit_of_work import Reading
from keyvault.witness import anchors
from keyvault.witness.client import ANSWER_LIMIT, WitnessClient

app = group("Ask a witness that has no network.")

Name = Annotated[str, typer.Option("--witness", metavar="NAME", help="Its name in the policy.")]


@command(app, "request", "keyvault witness request --witness w3 --out checkpoint-request")
def request(
    witness: Name,
    out: Annotated[Path, typer.Option(metavar="FILE", help="What is to be carried there.")],
    seen: Annotated[
        int | None,
        typer.Option(metavar="SIZE", min=0, help="What it has seen, where it says otherwise."),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Write what a witness without a network has to be shown: a checkpoint and its proof."""
    with _vault(config) as vault, vault.database.reading() as work:
        key = _named(vault, witness).party.key
        old = work.audit.cosigned_by(key) if seen is None else seen
        chosen = _chosen(work, old)
        proof = consistency_proof(work.audit.hashes(), old, chosen.size)
    write_new(out, AddCheckpoint(old, tuple(proof), chosen.note.encode()).to_bytes())
    say(f"there: keyvault witness sign --in {out.name} --out cosignature")
    value: Document = {"file": str(out), "old": old, "size": chosen.size}
    answer(value, facts(value.items()))


def _chosen(work: Reading, old: int) -> StoredCheckpoint:
    """Prefer what others have cosigned, so that all lines stand under one note."""
    cosigned = work.audit.cosigned_sizes(old + 1, 1, 1)
    found = work.audit.checkpoint(cosigned[0]) if cosigned else work.audit.checkpoint()
    if found is None or found.size < old:
        raise NotFoundError(f"there is no checkpoint of {old} events or more")
    return found


@command(app, "take", "keyvault witness take cosignature --request checkpoint-request --witness w3")
def take(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the witness wrote.")],
    asked: Annotated[Path, typer.Option("--request", metavar="FILE", help="What it was shown.")],
    witness: Name,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Take in the cosignature that was carried back."""
    note, size = _asked(asked)
    with _vault(config) as vault:
        client = _named(vault, witness)
        line = client.line_in(_read(file, ANSWER_LIMIT), note)
        with vault.database.reading() as work:
            stored = work.audit.checkpoint(size)
        if stored is None or Note.parse(stored.note.encode()).text != Note.parse(note).text:
            raise InvalidInputError("this service's log has no such checkpoint")
        with vault.database.sealing() as seals:
            seals.add_cosignature(size, client.party.key, line.line)
    say(f"{witness} has cosigned {size} events")
    answer({"witness": witness, "size": size}, str(size))


def _asked(path: Path) -> tuple[bytes, int]:
    """The note of a request file, and its size."""
    asked = AddCheckpoint.parse(_read(path, MAX_REQUEST_SIZE))
    return asked.note, asked.opened()[1].size


@command(app, "anchor", "keyvault witness anchor --config keyvault.toml")
def anchor(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Write the anchor file anew from the newest checkpoint, once all witnesses agree with it."""
    with _vault(config) as vault:
        path = vault.settings.anchor
        with vault.database.reading() as work:
            newest = work.audit.checkpoint()
        if path is None or newest is None:
            raise InvalidInputError("there is no anchor in the settings, or no checkpoint yet")
        if path.exists():
            raise RolledBackError(
                f"{path} is there, and only the sealer writes over it", next_step="keep it"
            )
        without = vault.settings.model_copy(update={"anchor": None})
        vault.settings = without
        vault.check_anchors()
        anchors.write(path, newest.note)
    answer({"anchor": str(path), "size": newest.size}, f"{path}: {newest.size} events")


@contextmanager
def _vault(config: Path) -> Iterator[Vault]:
    with closing(bootstrap.build(Settings.load(config))) as vault:
        yield vault


def _named(vault: Vault, witness: str) -> WitnessClient:
    policy = vault.cosigned.policy
    party = policy.witnesses.get(witness) if policy else None
    if party is None:
        raise NotFoundError(f"the policy names no witness {witness}")
    return WitnessClient(witness, party)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)
