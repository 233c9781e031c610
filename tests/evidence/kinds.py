"""The kinds of doctored bundle: each is a test, and its name says what was done or is refused.

python -m tests.evidence.kinds > docs/doctored.md
"""

import ast
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEAD = """# Doctored bundles

Each row is a test in `tests/evidence/` that takes a good bundle, doctors it, and demands that
`verify.py` ends with exit status 1 and says these words. Many are signed anew by somebody who has
the evidence key, or come from a service that lied from the start. `make doctored` writes this page.

| kind | of | what the program says |
|---|---|---|
"""
FOOT = """
Beside them every byte of a small bundle is flipped, one after the other (`make soak`): some
157,000, in the archive as it is, and inside each file with the archive made to fit again. None
changes unnoticed: no file is outside of what is checked.
"""


def page():
    """Write the table of all kinds."""
    rows = [
        f"| {_sentence(test)} | {path.stem.removeprefix('test_')} | {_words(test)} |\n"
        for path in sorted(HERE.glob("test_*.py"))
        for test in ast.parse(path.read_text()).body
        if isinstance(test, ast.FunctionDef)
        and test.name.startswith("test_")
        and "caught" in {one.arg for one in test.args.args}
    ]
    return f"{HEAD}{''.join(rows)}\n{len(rows)} kinds.\n{FOOT}"


def _sentence(test):
    return test.name.removeprefix("test_").replace("_", " ")


def _words(test):
    """What the test demands to hear: words in its calls, and in the rows that it runs over."""
    called = [node for node in ast.walk(test) if isinstance(node, ast.Call) and _looks(node)]
    asked = [argument for call in called for argument in call.args[1:4]]
    names = {node.id for node in asked if isinstance(node, ast.Name)}
    rows = [text for mark in test.decorator_list for text in _column(mark, names)]
    local = [
        node.value
        for node in ast.walk(test)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names
    ]
    said = dict.fromkeys(text for text in map(_text, (*asked, *local, *rows)) if " " in text)
    return "; ".join(said).replace("|", "/") or "names the file"


def _looks(call):
    return getattr(call.func, "id", "") in {"caught", "expect", "expect_record"}


def _text(node):
    """A text as it is written, with dots for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    text = getattr(node, "value", "")
    return text if isinstance(text, str) else ""


def _column(mark, names):
    """The values of these parameters in each row of a `parametrize`."""
    if not (isinstance(mark, ast.Call) and len(mark.args) > 1):
        return
    given, rows = mark.args[0], getattr(mark.args[1], "elts", [])
    fields = [getattr(one, "value", "") for one in getattr(given, "elts", [given])]
    for row in rows:
        values = row.elts if isinstance(row, ast.Tuple) else [row]
        yield from (value for name, value in zip(fields, values, strict=False) if name in names)


if __name__ == "__main__":
    sys.stdout.write(page())
