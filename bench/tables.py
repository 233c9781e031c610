"""What stands on docs/benchmarks.md beside the newest run: what was wanted, and the other benches.

Each bench writes the lines of its newest run to a file of its own; one that has not run yet has
none, and the page says so.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Line = dict[str, Any]
MILLION, THOUSAND = 1_000_000, 1_000
ABSENT = "not measured"


def lines_in(name: str) -> list[Line]:
    path = HERE / f"{name}.jsonl"
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def found(lines: Iterable[Line], scenario: str, to: str = "", **more: Any) -> Line | None:
    """The line of a scenario, and of what it is compared with where it has several."""
    for line in lines:
        fits = line["scenario"] == scenario and line.get("ratio_to", "").startswith(to)
        if fits and all(line.get(name) == value for name, value in more.items()):
            return line
    return None


def grid(head: str, rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table. Columns after the first stand to the right, if they hold figures."""
    names = [name.strip() for name in head.split("|")]
    line = "|".join("--:" if name.endswith(">") else "---" for name in names)
    top = f"| {' | '.join(name.rstrip('>') for name in names)} |"
    body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([top, f"|{line}|", *body])


# What was wanted


def wanted(main: list[Line], machine: Line) -> str:
    """Every aim with what was measured for it."""
    rows = (
        *_peer_rows(main),
        *_own_rows(main),
        *_keys_rows(),
        *_list_rows(),
        *_event_rows(),
        *_host_rows(),
        *_fair_rows(),
        *_idle_rows(machine),
    )
    return grid("what | wanted | measured | met", rows)


Row = tuple[str, str, str, str]


def _stated(what: str, told: str, aim: str = "stated") -> Row:
    return what, aim, told, ""


def _least(what: str, aim: float, value: float | None) -> Row:
    """Something of which at least so much was wanted."""
    if value is None:
        return _stated(what, ABSENT, f"≥ {aim}")
    return what, f"≥ {aim}", f"{value:.2f}", "yes" if value >= aim else "no"


def _most(what: str, aim: float, value: float | None, unit: str = "", more: str = "") -> Row:
    """Something of which at most so much was wanted."""
    if value is None:
        return _stated(what, ABSENT, f"≤ {aim}{unit}")
    return what, f"≤ {aim}{unit}", f"{value:.2f}{unit}{more}", "yes" if value <= aim else "no"


def _of(line: Line | None, name: str = "ratio") -> float | None:
    return None if line is None else float(line[name])


def _spread(line: Line | None) -> float | None:
    return None if line is None else float(line["p99_ms"] / line["p50_ms"])


def _peer_rows(main: list[Line]) -> Iterable[Row]:
    one, many, batch, halves = (
        found(main, f"http.sign.{name}", "peer.openbao")
        for name in ("audit.c1", "audit.c32", "batch100.c8", "batch100.gates2.c8")
    )
    yield _least("one signature a request, 32 clients: rate to OpenBao", 2.0, _of(many))
    yield _most("the same: p99 to OpenBao's", 0.25, _of(many, "p99_ratio"))
    yield _least("the same with 1 client: rate to OpenBao", 0.9, _of(one))
    yield _stated("the same to Cosmian KMS", "left out, see below", "≥ 1.0")
    orders = lines_in("orders")
    for peer, named in (("peer.barbican", "Barbican's order"), ("peer.pykmip", "PyKMIP's create")):
        for part, which in (("machine", "without the approvals"), ("whole", "with them")):
            line = found(orders, f"http.order.{part}.c1", peer)
            yield _least(f"key order to active, {which}, to {named}", 10.0, _of(line))
    yield _least("batch of 100 digests, 8 clients, one gate: to OpenBao", 1.0, _of(batch))
    yield _least("the same with two gates (`keys.workers`)", 1.0, _of(halves))


def _own_rows(main: list[Line]) -> Iterable[Row]:
    slow = found(main, "http.sign.audit.slowflush2ms.c32")
    yield _most("p99 / p50, 32 clients", 3, _spread(found(main, "http.sign.audit.c32")))
    yield _least("rate on a disk that flushes in 2 ms more, to the plain disk", 0.5, _of(slow))
    yield _most("p99 / p50 on that disk", 3, _spread(slow))
    for what, name, aim in (
        ("batch of 100 digests, 8 clients, one gate: to one thread of C", "sign.batch100.c8", 0.8),
        ("the same with two gates (`keys.workers`)", "sign.batch100.gates2.c8", 0.8),
        ("batch of 100 with RSA-2048: to one thread of C", "rsa2048.batch100.c8", 0.95),
    ):
        yield _least(what, aim, _of(found(main, f"http.{name}", "raw.c")))
    for what, name in (
        ("RSA-2048, one a request", "rsa2048.c32"),
        ("AES-GCM 1 KiB", "encrypt_1k.c32"),
        ("the same, 100 in a request, 8 clients", "encrypt_1k.batch100.c8"),
        ("AES-CMAC 1 KiB", "cmac_1k.c32"),
        ("the same, 100 in a request, 8 clients", "cmac_1k.batch100.c8"),
        ("ECDH, derive and MAC", "agreed_mac.c32"),
    ):
        line = found(main, f"http.{name}", "raw.c")
        yield _stated(what, f"{line['ratio']:.2f} of raw" if line else ABSENT)


def _keys_rows() -> Iterable[Row]:
    lines = lines_in("keys")
    for size in (10_000, MILLION):
        cached = found(lines, "keys.cached.c32", keys=size)
        miss = found(lines, "keys.miss.c1", keys=size)
        yield _least(f"{size:,} keys, cached, 32 clients: to 100 keys", 0.9, _of(cached))
        yield _most(f"{size:,} keys: what a miss takes more", 1.5, _of(miss, "more_ms"), " ms")
    big = found(lines, "keys.service", keys=MILLION)
    yield _most("start to ready with 1,000,000 keys", 3, _of(big, "ready_s"), " s")


def _list_rows() -> Iterable[Row]:
    for things, file in (("keys", "registers"), ("events", "pages")):
        for database, (ratio, name) in worst_pages(file).items():
            what = f"page of 50 of 1,000,000 {things}, {database}"
            yield _most(what, 2, ratio, more=f" ({name})")


def worst_pages(file: str = "registers") -> dict[str, tuple[float, str]]:
    """By database: the filter whose page grew most, to the page as full of the smallest register.

    That of 1,000 rows where its page is as full: an empty page is cheap anywhere.
    """
    lines = [line for line in lines_in(file) if line["scenario"] != "registers.export"]
    worst: dict[str, tuple[float, str]] = {}
    for line in (one for one in lines if one["rows"] == MILLION):
        same = ("database", "filter", "page")
        like = [one for one in lines if all(one[name] == line[name] for name in same)]
        base = next((one for one in like if one["rows"] == THOUSAND), like[0])
        found_ = line["ms"] / base["ms"], line["filter"]
        worst[line["database"]] = max(worst.get(line["database"], (0.0, "")), found_)
    return worst


def _event_rows() -> Iterable[Row]:
    lines = lines_in("events")
    for database in ("sqlite", "postgresql"):
        line = found(lines, f"events.durable.{database}.c256")
        yield _least(f"durable appends, 256 callers, {database}: to the driver", 0.6, _of(line))


def _host_rows() -> Iterable[Row]:
    log, soaked = found(lines_in("hosts"), "hosts.log"), lines_in("soak")
    told = ABSENT
    if log is not None:
        told = f"{log['answers']:,} answers, {log['lost']} lost, {log['doubled']} doubled, one root"
    yield _stated("1, 2, 4 api processes, 1 and 2 gates, PostgreSQL", told, "shown")
    told = f"{soaked[-1]['minute']:.0f} minutes, see below" if soaked else ABSENT
    yield _stated("full load for 30 minutes", told, "flat memory and files")


def _fair_rows() -> Iterable[Row]:
    for digests, what in ((1, "single digests"), (100, "batches of 100")):
        line = found(lines_in("fairness"), f"fair.paced.flood{digests}")
        yield _least(f"a quiet client's rate beside a flood of {what}: to alone", 0.9, _of(line))


def _idle_rows(machine: Line) -> Iterable[Row]:
    held = machine.get("idle_mib_of", {})
    told = ", ".join(f"{part} {held[part]}" for part in ("api", "gate", "sealer") if part in held)
    yield _stated("idle memory, MiB", told or ABSENT)
    yield _most("start to ready, all processes one after another", 3, machine.get("ready_s"), " s")


# The other benches


def orders() -> str:
    seen: dict[str, Line] = {}
    for line in lines_in("orders"):
        seen.setdefault(line["scenario"], line)
    rows = [
        (
            name,
            f"{line['ops_per_s']:.1f}",
            f"{line['p50_ms']:.1f} / {line['p99_ms']:.1f}",
            f"{line['cpu_us'] / 1000:.1f}" if "cpu_us" in line else "",
            f"{line['client_cpu_us'] / 1000:.1f}" if "client_cpu_us" in line else "",
        )
        for name, line in seen.items()
    ]
    head = "scenario | keys/s> | p50 / p99 ms> | server CPU ms> | client CPU ms>"
    return grid(head, rows) if rows else ABSENT.capitalize() + "."


def keys() -> str:
    lines = lines_in("keys")
    rows = [
        (
            f"{line['keys']:,}",
            line["scenario"].removeprefix("keys."),
            f"{line['ops_per_s']:,.0f}",
            f"{line['p50_ms']:.2f} / {line['p99_ms']:.2f}",
            f"{line['cpu_us']:,.0f}",
            f"{line['ratio']:.2f}" if "ratio" in line else "",
        )
        for line in lines
        if "ops_per_s" in line
    ]
    head = "keys> | use | uses/s> | p50 / p99 ms> | server CPU µs> | to 100 keys>"
    return f"{grid(head, rows)}\n\n{_held(lines)}" if rows else ABSENT.capitalize() + "."


def _held(lines: list[Line]) -> str:
    """Start and memory of the service of each register, before and after the misses."""
    rows = [
        (
            f"{line['keys']:,}",
            line["ready_s"],
            f"{line['missed']:,}",
            *(f"{line['idle_mib'][part]} → {line['held_mib'][part]}" for part in ("api", "gate")),
        )
        for line in lines
        if line["scenario"] == "keys.service"
    ]
    return grid("keys> | ready s> | misses> | api MiB> | gate MiB>", rows)


def hosts() -> str:
    rows = [
        (
            line["scenario"].removeprefix("hosts.postgresql."),
            f"{line['ops_per_s']:,.0f}",
            f"{line['p50_ms']:.1f} / {line['p99_ms']:.1f}",
            f"{line['cpu_us']:,.0f}",
            f"{line['ratio']:.2f}" if "ratio" in line else "",
        )
        for line in lines_in("hosts")
        if "ops_per_s" in line
    ]
    head = "processes | signatures/s> | p50 / p99 ms> | server CPU µs> | to one api>"
    return grid(head, rows) if rows else ABSENT.capitalize() + "."


def fairness() -> str:
    rows = [
        (
            line["scenario"].removeprefix("fair."),
            f"{line['ops_per_s']:,.0f}",
            f"{line['p50_ms']:.1f} / {line['p99_ms']:.1f}",
            f"{line['flood_per_s']:,.0f}" if line["flood_per_s"] else "",
            f"{line['ratio']:.2f} ({line['ratio_range'][0]:.2f} to {line['ratio_range'][1]:.2f})"
            if "ratio" in line
            else "",
        )
        for line in lines_in("fairness")
    ]
    head = "quiet client | signatures/s> | p50 / p99 ms> | flood's signatures/s> | rate to alone>"
    return grid(head, rows) if rows else ABSENT.capitalize() + "."


def soak() -> str:
    lines = lines_in("soak")
    if not lines:
        return ABSENT.capitalize() + "."
    parts = lines[0]["held"]
    rows = [
        (
            f"{line['minute']:.0f}",
            f"{sum(line.get(name, 0) for name in ('sign', 'batch100', 'wrapped', 'encrypt')):,}",
            *(f"{mib} / {files}" for mib, files in line["held"].values()),
        )
        for line in lines
    ]
    return grid(" | ".join(["minute>", "answers>", *(f"{part}>" for part in parts)]), rows)


def events() -> str:
    lines = [line for line in lines_in("events") if "ratio" in line]
    rows = [
        (
            line["scenario"].removeprefix("events.durable."),
            f"{line['per_second']:,}",
            f"{line['raw']:,}",
            f"{line['ratio']:.2f}",
        )
        for line in lines
    ]
    head = "database and callers | events/s> | raw driver> | ratio>"
    return grid(head, rows) if rows else ABSENT.capitalize() + "."
