"""Views of what a bundle discloses: lines for other programs, and the report for people."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import IO

from keyvault.domain.audit import Leaf
from keyvault.domain.evidence import View
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.times import time_of
from keyvault.evidence.bundle import BundleContents, covered
from keyvault.evidence.views.report import Report
from keyvault.evidence.views.rows import ROWS, Shown, csv_head
from keyvault.operations.audit import names_of
from keyvault.operations.vault import Vault
from keyvault.operations.witnesses import levels

IN_MEMORY = 1 << 20  # bytes of a view; larger ones go to a temporary file


def viewed(
    vault: Vault, views: tuple[View, ...], contents: BundleContents, ready: Callable[[], None]
) -> BundleContents:
    """Return the contents with these views, which come to be while the leaves pass by.

    `ready` is called when all have passed, before the device is asked to sign a report.
    """
    made = _Views(vault, views, contents, ready)
    return replace(contents, leaves=made.watched(contents.leaves), views=made.finished)


class _Views:
    """What is disclosed, written down for readers while it passes by on its way into a bundle."""

    def __init__(
        self,
        vault: Vault,
        views: tuple[View, ...],
        contents: BundleContents,
        ready: Callable[[], None],
    ) -> None:
        self._vault, self._views, self._contents, self._ready = vault, views, contents, ready
        self._names = names_of(contents.authority)
        with vault.database.reading() as work:
            self._level = str(levels(vault, work).of(contents.range.size - 1))
        self._files: dict[str, IO[bytes]] = {}
        self._rows = [(self._file(ROWS[view][0]), ROWS[view][1]) for view in views if view in ROWS]
        if View.CSV in views:
            self._files[ROWS[View.CSV][0]].write(csv_head().encode())
        self._report = Report(self._facts(), time_of(contents.created_at), self._names)

    def _file(self, name: str) -> IO[bytes]:
        self._files[name] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (read after this)
        return self._files[name]

    def _facts(self) -> list[tuple[str, object]]:
        contents, place = self._contents, self._contents.range
        dates = " to ".join(contents.dates) if contents.dates else "not chosen by date"
        return [
            ("log", contents.origin),
            ("genesis", contents.authority[0].hash),
            ("events", f"{place.start} to {place.end - 1} of a log of {place.size}"),
            ("dates (UTC)", dates),
            ("level of each event", f"{self._level}, of committed, sealed and witnessed"),
            ("filter", json.dumps(contents.filter) if contents.filter else "none"),
            ("asked for by", f"{contents.requester} {self._names.get(contents.requester, '')}"),
            ("made at", contents.created_at),
        ]

    def watched(self, leaves: Iterable[Leaf]) -> Iterator[Leaf]:
        contents = self._contents
        for index, leaf in enumerate(leaves, contents.range.start):
            if covered(index, leaf, contents.filter, contents.sample):
                self._show(index, leaf)
            else:
                self._report.withheld += 1
            yield leaf

    def _show(self, index: int, leaf: Leaf) -> None:
        header = json.loads(leaf.data)["h"]
        name = self._names.get(header["ac"], "")
        event = Shown(index, leaf.hash, header, json.loads(leaf.payload), name, self._level)
        self._report.add(event)
        for file, row in self._rows:
            file.write(row(event).encode())

    def finished(self) -> dict[str, IO[bytes]]:
        """Return the files, to be read from their beginning."""
        self._ready()
        paper = self._report.paper(self._root())
        if View.HTML in self._views:
            self._file("report.html").write(paper.html().encode())
        if View.PDF in self._views:
            self._file("report.pdf").write(self._signed(paper.pdf()))
        for file in self._files.values():
            file.seek(0)
        return self._files

    def _signed(self, pdf: bytes) -> bytes:
        # A second to load, and few processes ever sign a report.
        from keyvault.evidence.views.signing import signed_pdf  # noqa: PLC0415  (see above)

        gate, why = self._vault.gate, f"Report on key events of {self._contents.origin}"
        return signed_pdf(pdf, gate.report_certificate(), gate.sign_report, why)

    def _root(self) -> str:
        return Checkpoint.parse(Note.parse(self._contents.checkpoint).text).root.hex()
