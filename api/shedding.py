"""Who gets in when more calls come than the process can do, and whose turn it is to use a key.

Calls are counted by caller. Below a crowd everybody gets in up to a caller's own limit. In a
crowd those who hold the most are refused first, and the sooner the longer uses of keys take: by
time, because what is too many differs with the device, the disk and what is asked.

Uses of keys take turns while several callers ask for them: gate and recorder serve in order of
arrival, so what one caller has there at once is what the others wait for. Nothing here waits,
reads a clock or knows a connection: `now` is monotonic, in seconds.
"""

from asyncio import Future, get_running_loop
from collections import deque
from typing import NamedTuple

from keyvault.domain.errors import BusyError, OverloadedError


class Bounds(NamedTuple):
    """What a process takes."""

    calls: int = 1_024  # at once; none gets in beyond
    each: int = 128  # at once of one caller, so that nobody's flood fills the queue of all
    crowd: int = 64  # calls at once below which only `each` counts: a few slow batches are no crowd
    wait: float = 0.5  # seconds in which some use has to be done while there is a crowd
    shared: int = 32  # units of work that callers together have in gate and recorder at once
    queue: float = 2.0  # seconds that a caller's own uses may wait for their turn
    least: int = 2  # uses of each at once: one is served while the next is on its way
    unit: int = 256  # bytes of a body: a digest is one unit, a hundred are about as many as that
    lately: float = 1.0  # seconds that a caller counts after its last use


class Caller:
    """What one caller has here."""

    __slots__ = ("calls", "running", "used", "waiting", "work")

    def __init__(self) -> None:
        self.calls = 0  # under way, all of them
        self.running = 0  # uses that have their turn
        self.work = 0  # units of those
        self.used = float("-inf")  # when it asked for a use last
        self.waiting: deque[Use] = deque()


class Use:
    """One use of a key. `turn` is what its caller's task awaits, None if it may go on."""

    __slots__ = ("caller", "runs", "since", "turn", "work")

    def __init__(self, caller: Caller, work: int, since: float) -> None:
        self.caller = caller
        self.work = work
        self.since = since  # when it asked, then when it got its turn
        self.runs = False
        self.turn: Future[None] | None = None


class Shedding:
    """Counts of one process. A caller is whoever the front takes for one: a name."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # noqa: B008  (a tuple, never changed)
        self._bounds = bounds
        self._calls = 0
        self._callers: dict[str, Caller] = {}
        self._running = 0  # uses that have their turn
        self._timely = 0.0  # when a use was done in time last, or none was to be done
        self._sharing = 0  # callers that used a key lately
        self._share = bounds.shared
        self._look = float("-inf")

    @property
    def calls(self) -> int:
        """Calls under way."""
        return self._calls

    def __len__(self) -> int:
        """Callers that are remembered."""
        return len(self._callers)

    def enter(self, name: str, now: float) -> Caller:
        """Let a call in; `leave` has to follow. Raises `BusyError`, `OverloadedError`."""
        if now >= self._look:
            self._count(now)
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = Caller()
        bounds = self._bounds
        if caller.calls >= bounds.each or (
            caller.waiting and now - caller.waiting[0].since > bounds.queue
        ):
            raise BusyError("too many calls of yours at once", next_step="have fewer under way")
        if self._calls >= bounds.crowd and caller.calls >= self._room(now):
            raise OverloadedError(
                "more is asked of the service than it can do", next_step="wait as Retry-After says"
            )
        caller.calls += 1
        self._calls += 1
        return caller

    def leave(self, caller: Caller) -> None:
        caller.calls -= 1
        self._calls -= 1

    def _room(self, now: float) -> float:
        """How many calls a caller may have in a crowd.

        As many as there is room for beside them, so that there is always some left for who asks
        little; and fewer the longer ago it is that a use was done in time, but one.
        """
        bounds = self._bounds
        late = now - self._timely - bounds.wait if self._running else 0.0
        each = max(1.0, bounds.each * (1 - max(0.0, late) / bounds.wait))
        return min(bounds.calls - self._calls, each)

    def ask(self, caller: Caller, size: int, now: float) -> Use:
        """Ask for the turn of a use whose body has `size` bytes; `done` has to follow."""
        if now - caller.used > self._bounds.lately and not caller.running:
            self._shared_by(min(self._sharing + 1, len(self._callers)))
        caller.used = now
        use = Use(caller, 1 + size // self._bounds.unit, now)
        if self._sharing == 1 or (not caller.waiting and self._fits(use)):
            self._run(use, now)
        else:
            use.turn = get_running_loop().create_future()
            caller.waiting.append(use)
        return use

    def done(self, use: Use, now: float) -> None:
        """Give the turn of a use, had or not, to the next of its caller."""
        caller = use.caller
        if use.runs:
            self._running -= 1
            caller.running -= 1
            caller.work -= use.work
            if now - use.since <= self._bounds.wait:
                self._timely = now
        else:
            caller.waiting.remove(use)
        while caller.waiting and (self._sharing == 1 or self._fits(caller.waiting[0])):
            following = caller.waiting.popleft()
            self._run(following, now)
            if following.turn is not None and not following.turn.done():  # or it gave up
                following.turn.set_result(None)

    def _fits(self, use: Use) -> bool:
        caller = use.caller
        return caller.running < self._bounds.least or caller.work + use.work <= self._share

    def _run(self, use: Use, now: float) -> None:
        if not self._running:
            self._timely = now
        use.runs, use.since = True, now
        self._running += 1
        use.caller.running += 1
        use.caller.work += use.work

    def _count(self, now: float) -> None:
        """Forget who has nothing here and asked for nothing lately."""
        ago = now - self._bounds.lately
        self._callers = {
            name: one for name, one in self._callers.items() if one.calls or one.used >= ago
        }
        using = [one for one in self._callers.values() if one.running or one.used >= ago]
        self._shared_by(len(using))
        self._look = now + self._bounds.lately / 4

    def _shared_by(self, callers: int) -> None:
        self._sharing = callers
        self._share = self._bounds.shared // max(1, callers)
