"""One of several processes that reserve counters at once: `reserving.py CONFIG CERTIFICATE N`.

Eight threads, N reservations each; what was given is a line of JSON each, as soon as it is given.
"""

import json
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keyvault.bootstrap import build
from keyvault.domain.gbcs import CellUsage
from keyvault.operations import counters, people
from keyvault.settings import Settings

THREADS = 8


def main(config: str, certificate: str, times: str) -> None:
    vault = build(Settings.load(Path(config)))
    der = ssl.PEM_cert_to_DER_cert(Path(certificate).read_text())
    who = people.identify(vault, der)

    def reserve(at: int) -> None:
        for number in range(int(times)):
            count = 1 + (at + number) % 3
            issued = counters.reserve(vault, who, CellUsage.MANAGEMENT, count=count).issued
            sys.stdout.write(json.dumps([issued.first, issued.last]) + "\n")
            sys.stdout.flush()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(reserve, range(THREADS)))
    vault.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
