"""Join the parts of `verifier/` into the one file that an auditor carries to a bare machine."""

import ast
from functools import cache
from importlib import resources

from keyvault.evidence.verifier import PARTS

_PACKAGE = "keyvault.evidence.verifier"
_SHARED = "keyvault.catalogue"  # text: the one thing that the program and the house share
_OURS = (_PACKAGE, _SHARED)
_HEAD = '''#!/usr/bin/env python3
"""Check an evidence bundle of a key vault, on any machine, without the help of its makers.

    python3 -I verify.py evidence.zip [--genesis-sha256 HEX] [--log-key VKEY] [--policy FILE]
                                      [--state FILE] [--custody FILE] [--query NAME] [--standing]
                                      [--trace FILE] [--transcript FILE] [--json]

It needs Python 3.8 and OpenSSL 3 or later, and opens no network connection.
Exit status: 0 everything holds, 1 the evidence is wrong, 2 it could not be checked, 3 it holds
and does not prove what a --query or --trace asked.
"""
'''


@cache
def verifier() -> bytes:
    """Return `verify.py`: the same bytes for the same parts.

    Imports of the standard library come together at its top, those of other parts are left out,
    and everything else stands there as it stands in the parts, in the order of `PARTS`.
    """
    folder = resources.files(_PACKAGE)
    imports: set[str] = set()
    shared = (resources.files("keyvault") / "catalogue.py").read_text(encoding="utf-8")
    sections = [_HEAD, "\n" + _taken_apart(shared, imports)[1] + "\n"]
    for name in PARTS:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        title, body = _taken_apart(text, imports)
        sections.append(f"\n# {title.rstrip('.')} {'-' * (93 - len(title))}\n\n{body}\n")
    ordered = sorted(imports - {"from __future__ import annotations"})
    sections.insert(1, "\n".join(["from __future__ import annotations", "", *ordered]) + "\n")
    return "\n".join(sections).encode()


def _taken_apart(text: str, imports: set[str]) -> tuple[str, str]:
    """Return a part's title and what it defines; add the imports that stay to `imports`."""
    tree, lines = ast.parse(text), text.split("\n")
    title = (ast.get_docstring(tree) or "").split("\n")[0]
    rest = 0
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom) and rest:
            break
        rest = node.end_lineno or 0
        if isinstance(node, ast.Import):
            imports.update(f"import {alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(
            (_PACKAGE, _SHARED)
        ):
            imports.update(f"from {node.module} import {alias.name}" for alias in node.names)
    return title, "\n".join(lines[rest:]).strip("\n")
