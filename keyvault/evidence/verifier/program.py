"""The program: its options, what it remembers, and its exit status."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import IO

from keyvault.evidence.verifier.archive import CHUNK, Bundle
from keyvault.evidence.verifier.case import Case
from keyvault.evidence.verifier.outside import read_file
from keyvault.evidence.verifier.packs import Pack
from keyvault.evidence.verifier.queries import CLAIMS
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.traces import TraceFile
from keyvault.evidence.verifier.words import MAX_BUNDLE, CannotCheck, Wrong, need, seconds


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check an evidence bundle.")
    parser.add_argument("bundle")
    trusted(parser)
    parser.add_argument("--state", help="file that remembers the log between bundles")
    parser.add_argument("--custody", help="file of the hand-overs of this bundle")
    parser.add_argument(
        "--query", action="append", default=[], choices=sorted(CLAIMS), help="has to be proved"
    )
    parser.add_argument(
        "--who-had", metavar="TOKEN@TIME", type=asked, help="such as ID@2026-11-22T15:00:00Z"
    )
    parser.add_argument(
        "--trace", action="append", default=[], help="of a session with a token: is it the log's"
    )
    parser.add_argument("--transcript", help="file to write what was checked to")
    parser.add_argument("--standing", action="store_true", help="tell whose rights counted when")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    return parser.parse_args(arguments)


def trusted(parser: argparse.ArgumentParser) -> None:
    """What the reader has from somebody else than the bundle's maker."""
    parser.add_argument(
        "--genesis-sha256",
        metavar="HEX",
        type=noted,
        help="hash of the genesis record, as you know it",
    )
    parser.add_argument("--log-key", help="verifier key of the log, as you know it")
    parser.add_argument("--policy", help="witnesses that you trust, and how many (tlog-policy)")
    parser.add_argument(
        "--tsa-ca", action="append", default=[], help="roots of time stamps that you trust (PEM)"
    )


def noted(text: str) -> str:
    """A SHA-256 as people note it, in groups, too. Raises what argparse tells of."""
    digits = "".join(text.split()).lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return digits


def asked(text: str) -> tuple[str, str]:
    """A token and a time. Raises `ValueError`, of which argparse tells."""
    token, _, at = text.partition("@")
    try:
        seconds(at)
    except Wrong as error:
        raise ValueError(text) from error
    return token.lower(), at


def main(arguments: list[str] | None = None) -> int:
    options, report = options_of(arguments), Report()
    try:
        with opened(options.bundle) as file:
            examine(options, report, file)
    except CannotCheck as error:
        report.say("STOPPED", str(error))
        report.exit = report.exit or 2
    if not report.exit and not proved(options, report):
        report.exit = 3
    if options.transcript:
        Path(options.transcript).write_text(report.output(as_json=False), encoding="utf-8")
    sys.stdout.write(report.output(options.json))
    return report.exit


def proved(options: argparse.Namespace, report: Report) -> bool:
    held = all(trace.proved for trace in report.traces)
    return held and all(report.queries[name].startswith("proved") for name in options.query)


def opened(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise CannotCheck(f"{path} cannot be read: {error.strerror}") from error


def examine(options: argparse.Namespace, report: Report, file: IO[bytes]) -> None:
    report.who_had = options.who_had
    report.stamp_roots = b"".join(map(read_file, options.tsa_ca))
    digest = hashlib.sha256()
    for piece in iter(lambda: file.read(CHUNK), b""):
        digest.update(piece)
    need(file.tell() <= MAX_BUNDLE, "is over 4 GiB")
    report.bundle = digest.hexdigest()
    report.say("bundle", f"SHA-256 {report.bundle}, {options.bundle}")
    for path in options.trace:
        with report.step("", path):
            report.traces.append(TraceFile(path, read_file(path)))
    with report.step("the bundle is well formed and its authority a chain of approvals", ""):
        bundle = Bundle(file)
        case = (Pack if bundle.is_pack else Case)(options, report, bundle)
    if not report.exit:
        case.examine()
        case.check_signatures()
        case.describe_standing()
        case.describe()
    if not report.exit:
        case.remember()


if __name__ == "__main__":
    sys.exit(main())
