"""Evidence in figures: a made-up year exported and verified, and how long proofs are.

    python -m bench.evidence [--events 100000 1000000]

For each size the demo runs in a process of its own: one role and quarter, and all of it, each
verified by the one file under the system's Python. Then the proofs of a log of that size.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from keyvault.domain.tree import consistency_proof, inclusion_proof, range_proof
from keyvault.store import Database
from tools.narrated import ROOT

TRIES = 50  # proofs of each kind, at random places
HASH = 32  # bytes


def year(folder: Path, events: int) -> dict[str, Any]:
    """Let the demo write, export and verify; return its figures."""
    words = ["--events", str(events), "--folder", str(folder), "--no-attacks"]
    line = [sys.executable, "-m", "tools.evidence_demo", *words]
    subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    figures: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return figures


def proofs(url: str) -> dict[str, int]:
    """Return the most hashes that a proof of each kind took, at random places of a log."""
    dice = random.Random(4711)  # noqa: S311  (the same places each time)
    database = Database(url)
    with database.reading() as work:
        read, size = lru_cache(maxsize=1 << 20)(work.audit.hashes()), work.audit.head().size
        pairs = [sorted(dice.sample(range(1, size), 2)) for _ in range(TRIES)]
        told = {
            "inclusion": max(len(inclusion_proof(read, at, size)) for at, _ in pairs),
            "consistency": max(len(consistency_proof(read, old, size)) for old, _ in pairs),
            "range": max(
                len(proof.left) + len(proof.right)
                for proof in (range_proof(read, low, high, size) for low, high in pairs)
            ),
        }
    database.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000])
    for events in parser.parse_args().events:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "year"
            for scenario, figures in year(folder, events).items():
                words = scenario.replace(" ", ".").removesuffix(".zip")
                say(f"evidence.{words}.{events}", **figures)
            for kind, hashes in proofs(f"sqlite:///{folder / 'year.db'}").items():
                say(f"proof.{kind}.{events}", hashes=hashes, bytes=hashes * HASH)


def say(scenario: str, **figures: object) -> None:
    print(json.dumps({"scenario": scenario, **figures}), flush=True)


if __name__ == "__main__":
    main()
