"""The gate's memory of counters: no number twice, across crashes and whatever the database says."""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyvault.domain.errors import CounterRegressionError, InvalidInputError, NotReadyError
from keyvault.gate.counters import GRACE, CounterMemory

SERIES = "ACME/90B3D51F30010000/management"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.sampled_from("irs")), max_size=40)
)
def test_no_number_is_ever_accepted_twice(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("counters")
    memory, given_away = CounterMemory(folder), set()
    for first, more, what in steps:
        if what == "r":
            memory = CounterMemory(folder)  # the worker was replaced
        elif what == "s":
            memory.raise_to(SERIES, first)
        else:
            numbers = set(range(first, first + more + 1))
            try:
                memory.issue(SERIES, first, first + more)
            except CounterRegressionError:
                continue
            assert not numbers & given_away
            given_away |= numbers


def test_numbers_that_were_overtaken_are_still_taken_for_a_while(tmp_path):
    clock = Clock()
    memory = CounterMemory(tmp_path, clock)
    memory.issue(SERIES, 11, 20)
    memory.issue(SERIES, 1, 5)
    with pytest.raises(CounterRegressionError):
        memory.issue(SERIES, 5, 6)
    clock.now += GRACE + 1
    with pytest.raises(CounterRegressionError):
        memory.issue(SERIES, 6, 10)


def test_the_highest_number_is_remembered_by_the_next_worker(tmp_path):
    CounterMemory(tmp_path).issue(SERIES, 1, 7)
    memory = CounterMemory(tmp_path)
    assert memory.highest(SERIES) == 7
    assert memory.highest("another/series") == 0
    with pytest.raises(CounterRegressionError):
        memory.issue(SERIES, 7, 8)


def test_a_worker_killed_at_any_moment_loses_numbers_and_repeats_none(tmp_path):
    script = (
        "import sys; from pathlib import Path; from keyvault.gate.counters import CounterMemory\n"
        "memory = CounterMemory(Path(sys.argv[1])); number = memory.highest('S')\n"
        "while True:\n"
        "    number += 1; memory.issue('S', number, number); print(number, flush=True)\n"
    )
    seen = []
    for count in (1, 40, 7, 90, 3):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        lines = [child.stdout.readline() for _ in range(count)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines()
        child.wait()
        child.stdout.close()
        seen += [int(line) for line in lines if line.strip()]
    assert all(before < after for before, after in pairwise(seen))
    assert CounterMemory(tmp_path).highest("S") >= seen[-1]


@pytest.mark.parametrize("text", ["", "garbage", "other/series 000000000000000A", f"{SERIES} -1"])
def test_a_memory_that_cannot_be_read_stops_its_series(tmp_path, text):
    memory = CounterMemory(tmp_path)
    memory.issue(SERIES, 1, 1)
    [file] = tmp_path.iterdir()
    file.write_text(text)
    with pytest.raises(NotReadyError):
        CounterMemory(tmp_path).highest(SERIES)
    assert CounterMemory(tmp_path).highest("another/series") == 0


def test_a_full_disk_gives_no_number(tmp_path):
    memory = CounterMemory(tmp_path)
    os.rmdir(tmp_path)  # noqa: PTH106 - the folder is gone: nothing can be written
    with pytest.raises(NotReadyError):
        memory.issue(SERIES, 1, 1)
    assert memory.highest(SERIES) == 0


@pytest.mark.parametrize("numbers", [(0, 1), (2, 1), (-1, 1), (1, 1 << 63)])
def test_what_is_no_range_is_refused(tmp_path, numbers):
    with pytest.raises(InvalidInputError):
        CounterMemory(tmp_path).issue(SERIES, *numbers)


@pytest.mark.parametrize("series", ["", "a\nb", "x" * 201, "café"])
def test_a_series_has_a_plain_name(tmp_path, series):
    with pytest.raises(InvalidInputError):
        CounterMemory(tmp_path).highest(series)
