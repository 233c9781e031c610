"""The alarm that ends a hung call, in a process of its own that may die of it."""

import signal
import subprocess
import sys

import pytest

SLOW_SIGNER = """
import sys, time
from keyvault.gate.deadlines import timed

class Slow:
    def sign_all(self, finding, mechanism, data):
        time.sleep(finding)
        return [time.sleep(pause) for pause in data]

finding, *pauses = map(float, sys.argv[1:])
timed(Slow(), 0.4).sign_all(finding, None, pauses)
time.sleep(0.5)
"""


@pytest.mark.parametrize(
    ("pauses", "ends"),
    [
        (["0.2"] * 5, 0),
        (["0.01", "0.01", "2"], -signal.SIGALRM),
        (["2", "0.01"], -signal.SIGALRM),
    ],
    ids=["all are quick enough", "one hangs", "finding the key hangs"],
)
def test_each_signature_of_a_batch_has_the_whole_deadline(pauses, ends):
    line = [sys.executable, "-c", SLOW_SIGNER, *pauses]
    assert subprocess.run(line, timeout=20, check=False).returncode == ends
