"""Two steps of the custody demo that are about size: they run the benches, and tell the figures."""

import json
import subprocess
import sys

from tools.narrated import ROOT, Answer, Story, StoryError, note, show


def large_register(story: Story, rows: int) -> None:
    """Show that a page and an export of a large register cost what those of a small one do."""
    story.tell(
        f"The register at {rows:,} keys",
        "A page of 50 under every filter, and the whole register as CSV, both on SQLite.",
    )
    lines = _bench("bench.registers", "--only", "sqlite", "--rows", str(rows))
    pages = [line for line in lines if line["scenario"] == "registers.page"]
    exports = [line for line in lines if line["scenario"] == "registers.export"]
    slowest = max(line["ms"] for line in pages if line["rows"] == rows)
    ratio = max(line["ratio"] for line in pages if line["rows"] == rows)
    note(f"the slowest page takes {slowest} ms, at most {ratio} times that of a small register")
    last = exports[-1]
    more = last["peak_mib_more"]
    note(f"{last['rows']:,} keys as CSV: {last['seconds']} s, {more} MiB more memory at the peak")
    story.summary["register"] = {"rows": rows, "slowest_ms": slowest, "ratio": ratio, **last}


def requests(story: Story, count: int) -> None:
    """Build, lint, submit, answer and accept so many certification requests."""
    whole = "" if count >= 50_000 else '; 50,000 with ARGS="--csrs 50000"'  # noqa: PLR2004  (DCC's most)
    story.tell(
        f"{count:,} certification requests{whole}",
        "One for each of as many keys that rest wrapped; a sample goes to `openssl req -verify`.",
    )
    lines = _bench("bench.certificates", "--keys", str(count))
    steps = {line["step"]: line for line in lines if "step" in line}
    sample = next(line for line in lines if "openssl_req_verify" in line)
    for name, line in steps.items():
        note(
            f"{name}: {line['seconds']} s, the command took {line['command_peak_mib']} MiB at most"
        )
    note(f"openssl checked {sample['openssl_req_verify']} of them and refused {sample['refused']}")
    story.summary["requests"] = {"count": count, **sample, "steps": steps}


def _bench(module: str, *words: str) -> list[Answer]:
    show("admin$ python -m", (module, *words))
    line = (sys.executable, "-m", module, *words)
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise StoryError(f"{module} ended with {done.returncode}: {done.stderr[-2_000:]}")
    return [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
