"""What is to be thought of this host's clock, from what others and it itself say. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class ClockState(StrEnum):
    SYNCHRONISED = "synchronised"
    UNSYNCHRONISED = "unsynchronised"  # nobody keeps it right, as the kernel knows
    STEPPED = "stepped"  # it jumped beside the clock that only ever runs on
    SKEWED = "skewed"  # it differs from what a time stamping authority says


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the clocks. `kept` is the kernel's word, None where it says nothing."""

    wall_ms: int
    monotonic_ms: int
    kept: bool | None


def step_ms(before: Reading, now: Reading) -> int:
    """How far the wall clock moved beside the monotonic one, forward or back."""
    return (now.wall_ms - before.wall_ms) - (now.monotonic_ms - before.monotonic_ms)


def beyond_ms(stamped_ms: int, asked_ms: int, answered_ms: int, accuracy_ms: int) -> int:
    """How far an authority's time lies outside of the time that it took to ask it; 0 inside.

    A token has whole seconds, so its time is up to a second after what it says.
    """
    if stamped_ms + 1_000 + accuracy_ms < asked_ms:
        return stamped_ms + 1_000 + accuracy_ms - asked_ms
    return max(0, stamped_ms - accuracy_ms - answered_ms)


def judged(
    before: Reading | None, now: Reading, beyond: int, tolerance_ms: int
) -> tuple[ClockState, str]:
    """Return the worst that is known of the clock, and in which figures it shows."""
    step = step_ms(before, now) if before else 0
    if abs(step) > tolerance_ms:
        return ClockState.STEPPED, f"it jumped by {step} ms"
    if abs(beyond) > tolerance_ms:
        return ClockState.SKEWED, f"the authority's time is {beyond} ms from it"
    if now.kept is False:
        return ClockState.UNSYNCHRONISED, "the kernel says that nobody keeps it right"
    return ClockState.SYNCHRONISED, ""
