"""Write docs/benchmarks.md and its chart from the newest run in bench/results.jsonl."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from bench import tables

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
PAGE = HERE.parent / "docs/benchmarks.md"
CHART = HERE.parent / "docs/benchmarks.svg"
NOTES = Template((HERE / "notes.md").read_text())

Line = dict[str, Any]
WIDTH, ROW, LEFT, TOP = 760, 30, 250, 16


def newest(path: Path) -> tuple[list[Line], Line]:
    """Return the lines of the last run, and what they were measured on."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ends = [at for at, line in enumerate(lines) if line["scenario"] == "machine"]
    start = ends[-2] + 1 if len(ends) > 1 else 0
    return lines[start : ends[-1]], lines[ends[-1]]


def table(lines: list[Line]) -> str:
    """One row for each scenario and what it is compared with."""
    head = "| scenario | ops/s | p50 / p99 ms | server CPU µs | client CPU µs | ratio | to |"
    rows = [head, "|---|--:|--:|--:|--:|--:|---|"]
    for line in lines:
        low, high = line.get("ratio_range", (0, 0))
        ratio = f"{line['ratio']:.2f} ({low:.2f} to {high:.2f})" if "ratio" in line else ""
        times = f"{line['p50_ms']:.1f} / {line['p99_ms']:.1f}" if "p50_ms" in line else ""
        cpu = f"{line['cpu_us']:,.0f}" if "cpu_us" in line else ""
        client = f"{line['client_cpu_us']:,.0f}" if "client_cpu_us" in line else ""
        ops, to = f"{line['ops_per_s']:,.0f}", line.get("ratio_to", "")
        rows.append(f"| {line['scenario']} | {ops} | {times} | {cpu} | {client} | {ratio} | {to} |")
    return "\n".join(rows)


def spread(lines: list[Line]) -> str:
    """Whose CPU time it is, for the scenarios of the whole service."""
    seen = {line["scenario"]: line for line in lines if line["scenario"].startswith("http.")}
    parts = next(iter(seen.values()))["cpu_us_of"]
    rows = [f"| scenario | {' | '.join(parts)} |", f"|---|{'--:|' * len(parts)}"]
    for name, line in seen.items():
        figures = " | ".join(f"{line['cpu_us_of'][part]:,}" for part in parts)
        rows.append(f"| {name} | {figures} |")
    return "\n".join(rows)


def pages(path: Path) -> str:
    """The time of one page by filter, out of the largest log and as a ratio to a small one."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    largest = max(line["rows"] for line in lines)
    rows = ["| filter | database | events | rows | ms | ratio |", "|---|---|--:|--:|--:|--:|"]
    rows += [
        f"| {at['filter']} | {at['database']} | {at['rows']:,} | {at['page']}"
        f" | {at['ms']:.2f} | {at['ratio']:.2f} |"
        for at in lines
        if at["rows"] == largest
    ]
    return "\n".join(rows)


def worst() -> str:
    """The filter whose page grew most, on each database."""
    each = [f"{ratio:.2f} on {db} ({name})" for db, (ratio, name) in tables.worst_pages().items()]
    return " and ".join(each)


def idle(machine: Line) -> str:
    """How long the start took, and what each process holds then."""
    if "ready_s" not in machine:
        return "Not measured in this run."
    held = machine["idle_mib_of"]
    each = ", ".join(f"{part} {size}" for part, size in held.items())
    ready = f"Ready {machine['ready_s']} s after the start of the first process, one after another."
    return f"{ready} Idle memory in MiB: {each}; {sum(held.values())} together."


def against(lines: list[Line]) -> str:
    """Rate, slowest answers and CPU time as ratios to the peer."""
    rows = ["| scenario | rate | p99 | CPU |", "|---|--:|--:|--:|"]
    rows += [
        f"| {line['scenario']} | {line['ratio']:.2f} | {line['p99_ratio']:.2f} "
        f"| {line['cpu_ratio']:.2f} |"
        for line in lines
        if line["scenario"].startswith("http.") and line.get("ratio_to", "").startswith("peer.")
    ]
    return "\n".join(rows)


def chart(lines: list[Line]) -> str:
    """Signatures a second as bars, the peer's lighter."""
    rates = {line["scenario"]: line["ops_per_s"] for line in lines}
    shown = {name: rate for name, rate in rates.items() if name.startswith(("http.", "peer."))}
    longest = max(shown.values())
    height = TOP + ROW * len(shown)
    size = f'width="{WIDTH}" height="{height}"'
    bars = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        f'<rect {size} fill="#fff"/>',
    ]
    for at, (name, rate) in enumerate(shown.items()):
        y, length = TOP + at * ROW, round((WIDTH - LEFT - 70) * rate / longest, 1)
        colour = "#9aa7b5" if name.startswith("peer.") else "#1f5fa8"
        bars += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length}" height="18" fill="{colour}"/>',
            f'<text x="{LEFT + length + 6}" y="{y + 13}">{rate:,.0f}/s</text>',
        ]
    return "\n".join([*bars, "</svg>\n"])


def main() -> None:
    lines, machine = newest(RESULTS)
    CHART.write_text(chart(lines))
    PAGE.write_text(
        NOTES.substitute(
            machine,
            rounds=lines[0]["rounds"],
            load=" / ".join(f"{value:.1f}" for value in machine["load_average"]),
            table=table(lines),
            against=against(lines),
            spread=spread(lines),
            idle=idle(machine),
            pages=pages(HERE / "pages.jsonl"),
            wanted=tables.wanted(lines, machine),
            orders=tables.orders(),
            keys=tables.keys(),
            hosts=tables.hosts(),
            soak=tables.soak(),
            fairness=tables.fairness(),
            events=tables.events(),
            worst=worst(),
        )
    )


if __name__ == "__main__":
    main()
