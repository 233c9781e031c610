"""Who gets in when more calls come than a process can do, and whose turn it is."""

import asyncio
from functools import wraps

from hypothesis import given
from hypothesis import strategies as st

from api.shedding import Bounds, Shedding
from keyvault.domain.errors import BusyError, OverloadedError

SMALL = Bounds(calls=12, each=5, crowd=6, shared=4)
NAMES = ("one", "two", "three", "four")
DIGEST, BATCH = 60, 5_000  # bytes of a body


def in_a_loop(test):
    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


class World:
    """Callers, their calls under way, and a clock: what a front would do with `Shedding`."""

    def __init__(self, bounds=SMALL):
        self.bounds, self.shedding, self.now = bounds, Shedding(bounds), 100.0
        self.under_way = []  # name, caller, use

    def of(self, name):
        return [use for whose, _, use in self.under_way if whose == name]

    def waiting(self, name):
        return [use for use in self.of(name) if not use.runs]

    def call(self, name, size=DIGEST):
        caller = self.shedding.enter(name, self.now)
        use = self.shedding.ask(caller, size, self.now)
        self.under_way.append((name, caller, use))
        return use

    def end(self, at=0):
        _, caller, use = self.under_way.pop(at % len(self.under_way))
        self.shedding.done(use, self.now)
        self.shedding.leave(caller)

    def fill(self, name):
        """Let it call as often as it may."""
        while (error := self.gets_in(name)) is None:
            self.call(name)
        return error

    def gets_in(self, name):
        try:
            caller = self.shedding.enter(name, self.now)
        except BusyError as error:
            return type(error)
        self.shedding.leave(caller)
        return None

    def check_refusal(self, name, error):
        """A no has a reason, and whoever holds as much hears it as well."""
        own = self.of(name)
        if not isinstance(error, OverloadedError):
            old = any(self.now - use.since > self.bounds.queue for use in self.waiting(name))
            assert len(own) >= self.bounds.each or old
            return
        assert len(self.under_way) >= self.bounds.crowd
        assert own or len(self.under_way) == self.bounds.calls
        for other in NAMES:
            if len(self.of(other)) >= len(own):
                assert self.gets_in(other) is not None

    def check(self):
        assert self.shedding.calls == len(self.under_way) <= self.bounds.calls
        for name in NAMES:
            own, waiting = self.of(name), self.waiting(name)
            assert len(own) <= self.bounds.each
            assert all(use.turn.done() for use in own if use.runs and use.turn is not None)
            assert not any(use.turn.done() for use in waiting)
            assert not waiting or len(own) - len(waiting) >= self.bounds.least


calls = st.tuples(st.sampled_from(NAMES), st.sampled_from((DIGEST, BATCH)))
ends = st.integers(0, 11)
pauses = st.sampled_from((0.01, 0.3, 0.6, 1.1, 2.5))


@given(st.lists(calls | ends | pauses, max_size=80))
@in_a_loop
async def test_whatever_comes_is_bounded_refused_for_a_reason_and_forgotten(steps):
    world = World()
    for step in steps:
        if isinstance(step, float):
            world.now += step
        elif isinstance(step, int):
            if world.under_way:
                world.end(step)
        else:
            try:
                world.call(*step)
            except BusyError as error:
                world.check_refusal(step[0], error)
        world.check()
    while world.under_way:  # whoever has its turn ends, and so each gets it
        world.end([use.runs for _, _, use in world.under_way].index(True))
        world.check()
    assert world.shedding.calls == 0
    world.now += 2
    assert world.gets_in("newcomer") is None
    assert len(world.shedding) == 1


@given(st.integers(1, SMALL.each), st.sampled_from((DIGEST, BATCH)))
@in_a_loop
async def test_who_is_alone_never_waits(calls, size):
    world = World()
    for _ in range(3):
        uses = [world.call("one", size) for _ in range(calls)]
        assert all(use.runs and use.turn is None for use in uses)
        while world.under_way:
            world.end()
        world.now += 0.9


@in_a_loop
async def test_of_two_each_has_half_and_the_rest_waits_in_order():
    world = World(Bounds())
    world.call("quiet")
    flood = [world.call("flood") for _ in range(30)]
    half = Bounds().shared // 2
    assert [use.runs for use in flood] == [True] * half + [False] * (30 - half)
    assert world.call("quiet").runs
    world.end(1)  # one of the flood's
    assert [use.runs for use in flood] == [True] * (half + 1) + [False] * (29 - half)


@in_a_loop
async def test_a_use_that_takes_long_counts_until_it_is_done():
    world = World(Bounds())
    world.call("quiet")
    world.now += 3
    assert sum(world.call("flood").runs for _ in range(30)) == Bounds().shared // 2


@in_a_loop
async def test_who_asks_again_after_a_long_use_is_still_one_caller():
    world = World(Bounds())
    world.shedding.enter("reader", world.now)  # here, but with no use of a key
    world.call("alone")
    world.now += 3
    assert all(world.call("alone", BATCH).runs for _ in range(4))


@in_a_loop
async def test_of_batches_two_have_their_turn_and_a_digest_passes_them():
    world = World(Bounds())
    world.call("quiet")
    assert [world.call("flood", BATCH).runs for _ in range(4)] == [True, True, False, False]
    assert world.call("quiet").runs


@in_a_loop
async def test_who_is_alone_again_after_a_while_has_all():
    world = World(Bounds())
    world.call("quiet")
    world.end()
    flood = [world.call("flood") for _ in range(30)]
    world.now += 1.5
    world.end()
    flood.append(world.call("flood"))
    world.end()
    assert all(use.runs for use in flood)


@in_a_loop
async def test_a_use_that_gives_up_keeps_nobody_waiting():
    world = World(Bounds(shared=2, least=1))
    world.call("quiet")
    _, second, third = (world.call("flood") for _ in range(3))
    second.turn.cancel()
    world.end(1)  # its turn goes to one that is not there any more, whose end comes
    world.end(1)
    assert third.turn.done()
    assert not third.turn.cancelled()


@in_a_loop
async def test_a_crowd_that_is_served_in_time_is_no_reason_to_refuse():
    world = World()
    for number in range(40):
        if number > 8:
            world.now += 0.05  # so that each is done in less than half a second
            world.end()
        name = NAMES[number % 3]
        assert world.gets_in(name) is None
        world.call(name)
    assert len(world.under_way) > SMALL.crowd


@in_a_loop
async def test_the_longer_nothing_is_done_the_fewer_calls_a_caller_may_have_but_one():
    world = World(Bounds())
    for number in range(64):
        world.call(f"caller {number % 2}")
    for _ in range(8):
        world.call("some")
    said = []
    for _ in range(12):
        world.now += 0.1
        said.append([world.gets_in(name) for name in ("caller 0", "some", "none")])
    refused = [[each is not None for each in one] for one in said]
    assert refused == sorted(refused)  # who is refused stays refused
    assert refused[4] == [False, False, False]  # half a second
    assert refused[8] == [True, False, False]
    assert refused[11] == [True, True, False]
    assert {each for one in said for each in one} == {None, OverloadedError}
    while len(world.under_way) > 8:
        world.end()
    assert world.gets_in("some") is None


@in_a_loop
async def test_whose_own_uses_wait_too_long_is_refused_alone():
    world = World(Bounds())
    world.call("quiet")
    for _ in range(20):
        world.call("flood")
    world.now += 1.9
    assert world.gets_in("flood") is None
    world.now += 0.2
    assert world.gets_in("flood") is BusyError
    assert world.gets_in("quiet") is None


@in_a_loop
async def test_who_asks_little_finds_room_until_the_process_is_full():
    world = World(Bounds(calls=100, each=60, crowd=10))
    assert world.fill("one") is OverloadedError
    assert len(world.of("one")) == 50  # as many as there is room beside them
    assert world.fill("two") is OverloadedError
    assert world.gets_in("three") is None
    for number in range(100 - len(world.under_way)):
        world.call(f"caller {number}")
    assert world.gets_in("three") is OverloadedError
