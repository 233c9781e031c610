"""What no linter knows: sizes, tables that must be complete, and pages that must stay true."""

import ast
import os
import re
import subprocess
import sys
from contextlib import suppress
from http import HTTPStatus
from itertools import chain
from pathlib import Path

import pytest
import typer.main

from api.rest import problems
from cli import errors as cli_errors
from cli.main import assembled
from hsm import errors as hsm_errors
from hsm.errors import CardError, HsmError
from keyvault.catalogue import CATALOGUE
from keyvault.domain import errors as vault_errors
from keyvault.domain.audit import EventType
from keyvault.domain.errors import VaultError
from keyvault.domain.retention import CLASSES, Retention

ROOT = Path(__file__).parent.parent
FLOORS = ("hsm", "keyvault", "api", "cli")
MAX_FILE = 400  # lines
MAX_FUNCTION = 25  # lines, without the docstring
MAX_TEST = 40  # lines: a test may tell its story to the end


def tracked():
    """Every file of the project, new ones too, but none that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [path for path in map(Path, listed.stdout.splitlines()) if (ROOT / path).is_file()]


FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]
PRODUCT = [path for path in PYTHON if path.parts[0] in FLOORS]
# What lies in bench is put into docs/benchmarks.md, so its links start there.
PAGES = [path for path in FILES if path.suffix == ".md" and path.parts[0] != "bench"]


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def tree_of(path):
    return ast.parse(text_of(path), filename=str(path))


def table_of(page):
    """The rows of a page's tables as lists of cells, heads left out."""
    rows = [line.strip("|").split("|") for line in text_of(page).split("\n") if line[:1] == "|"]
    cells = [[cell.strip() for cell in row] for row in rows]
    rules = {at for at, row in enumerate(cells) if set("".join(row)) <= set("-: ")}
    return [row for at, row in enumerate(cells) if at not in rules and at + 1 not in rules]


def quoted(text):
    return re.findall(r"`([^`\n]+)`", text)


# Sizes -------------------------------------------------------------------------------------


def test_no_file_is_too_long_to_be_read_in_one_sitting():
    lengths = {str(path): text_of(path).count("\n") for path in PYTHON}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE} == {}


def test_no_function_is_longer_than_it_can_be_held_in_mind():
    assert [found for path in PYTHON for found in _long_functions(path)] == []


def _long_functions(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[0]
            without = first.end_lineno - first.lineno + 1 if documented else 0
            lines = node.end_lineno - node.lineno + 1 - without
            if lines > (MAX_TEST if path.parts[0] == "tests" else MAX_FUNCTION):
                yield f"{path}:{node.lineno} {node.name} has {lines} lines"


# Errors ------------------------------------------------------------------------------------


def kinds(*modules):
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, VaultError | HsmError)
    ]


SHARED = sorted(set(kinds(hsm_errors, vault_errors)), key=lambda kind: kind.__name__)
OWN = sorted(set(kinds(cli_errors)) - set(SHARED), key=lambda kind: kind.__name__)
# Cards are at the desk: their errors never cross HTTP.
SERVED = [kind for kind in SHARED if not issubclass(kind, CardError)]


@pytest.mark.parametrize("kind", SERVED)
def test_every_error_has_an_http_status(kind):
    assert kind in problems.STATUS or kind in problems.UNLISTED


@pytest.mark.parametrize("kind", [*SHARED, *OWN])
def test_every_error_has_an_exit_status(kind):
    assert kind.code in cli_errors.EXIT


def test_every_error_has_a_code_of_its_own():
    codes = [kind.code for kind in SHARED if "code" in vars(kind)]
    assert len(codes) == len(set(codes))
    assert all("code" in vars(kind) for kind in SHARED)


def test_the_page_of_errors_lists_every_code_with_its_status_and_exit():
    statuses = {kind.code: str(int(status)) for kind, status in problems.STATUS.items()}
    for status in HTTPStatus:
        with suppress(KeyError):
            statuses[problems.framework_problem(status).code] = str(int(status))
    statuses[problems.INTERNAL] = "500"
    assert set(statuses) == set(problems.all_codes())
    exits = {code: str(status) for code, status in cli_errors.EXIT.items()}
    expected = {
        code: (statuses.get(code, ""), exits.get(code, str(os.EX_SOFTWARE)))
        for code in {*statuses, *exits}
    }
    listed = {row[0].strip("`"): (row[1], row[2]) for row in table_of("docs/errors.md")}
    assert listed == expected


# Names of families: what is raised has a code of its own, or that which a server or card gave it.
FAMILIES = {"vault-error", "card-error"}
PARENT = re.compile(r"(?m)^class \w+\((?:\w+\.)*(\w+)")
CODED = re.compile(r'(?m)^class (\w+)\(.*\):\n(?:(?!class ).*\n)*?    code = "([a-z-]+)"')
IMPORTED = re.compile(r"(?m)^(?:from \S+ )?import (?:\([^)]*\)|.*)$")


def _words_of_tests():
    """Every word in the tests, with its quotes if it has some; what is imported is none."""
    texts = (text_of(p) for p in PYTHON if p.parts[0] == "tests" and p.name != "test_house.py")
    return {word for text in texts for word in re.findall(r'"?[\w-]+"?', IMPORTED.sub("", text))}


def test_every_code_of_an_error_is_brought_about_by_a_test():
    """A test names the code itself, or the class that alone has it."""
    texts = [text_of(path) for path in PRODUCT]
    parents = {name for text in texts for name in PARENT.findall(text)}
    alone = {code: name for text in texts for name, code in CODED.findall(text)}
    alone = {code: name for code, name in alone.items() if name not in parents}
    listed = {row[0].strip("`") for row in table_of("docs/errors.md")}
    words = _words_of_tests()
    untold = {code for code in listed if not {f'"{code}"', alone.get(code)} & words}
    assert untold == FAMILIES
    assert set(alone) <= listed


# Events, threats, map, links ---------------------------------------------------------------


def test_the_page_of_events_lists_the_closed_list():
    listed = [name for row in table_of("docs/events.md") for name in quoted(row[0])]
    assert sorted(listed) == sorted(map(str, EventType))


def test_every_event_has_a_class_of_retention_and_a_schema():
    listed = [line.split()[0] for line in CATALOGUE.strip().splitlines() if line[0] != " "]
    assert sorted(listed) == sorted(map(str, EventType))
    assert set(CLASSES.values()) == set(Retention)


def _tests_there_are():
    return {
        f"{path}::{node.name}"
        for path in PYTHON
        if path.parts[0] == "tests" and path.name.startswith("test_")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_threat_names_tests_that_exist_or_says_not_yet():
    there = _tests_there_are()
    rows = [row for row in table_of("docs/threats.md") if re.fullmatch(r"T\d+", row[0])]
    assert [row[0] for row in rows] == [f"T{at}" for at, _ in enumerate(rows, 1)]
    for number, *_, shown_by in rows:
        named = quoted(shown_by)
        assert set(named) <= there, f"{number} names a test that is not there"
        assert named or shown_by.startswith("not yet"), f"{number} has neither test nor excuse"


ZONES = [path for path in PAGES if path.parent == Path("docs/threats")]


@pytest.mark.parametrize("page", ZONES, ids=lambda page: page.stem)
def test_what_remains_possible_in_a_zone_names_tests_that_exist(page):
    named = {name for row in table_of(page) for name in quoted(row[-1])}
    assert named
    assert named <= _tests_there_are()
    assert f"threats/{page.name}" in text_of("docs/threats.md")


def rooms():
    """The address book's entries: folders, and modules of the floors where rooms are modules."""
    for path in PRODUCT:
        folder = path.parent
        if path.name == "__init__.py" or "versions" in path.parts:
            continue
        yield f"{folder}/" if len(path.parts) > 2 and folder.name not in _BY_MODULE else str(path)


_BY_MODULE = {"domain", "operations", "store", "gate", "routes"}


def test_the_map_has_every_room_and_no_other():
    on_the_map = {name for name in quoted(text_of("docs/map.md")) if name.startswith(FLOORS)}
    assert {name for name in on_the_map if not (ROOT / name).exists()} == set()
    assert set(rooms()) - on_the_map == set()


def test_every_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)):
            if "://" not in target and not target.startswith("mailto:"):
                assert (ROOT / page.parent / target).exists(), f"{page} links to {target}"


def test_every_command_that_a_page_tells_to_run_exists():
    commands = set(_commands(typer.main.get_command(assembled("")), ()))
    nouns = {words[:n] for words in commands for n in (1, 2)}  # named for all of it
    for page in PAGES:
        for line in re.findall(r"(?m)^ *keyvault .*$|`keyvault [^`]*`", text_of(page)):
            words = line.strip("` \\").split()[1:]
            plain = tuple(word for word in words if re.fullmatch(r"[a-z][a-z-]*", word))[:3]
            known = plain in nouns or {plain[:3], plain[:2], plain[:1]} & commands
            assert not plain or known, f"{page}: {line}"


def _commands(command, path):
    inner = getattr(command, "commands", {})
    if not inner:
        yield path
    for name, sub in inner.items():
        yield from _commands(sub, (*path, name))


def test_the_picture_shows_what_its_text_says():
    nodes = set(re.findall(r"(?m)^\s+(\w+) \[", text_of("docs/architecture.dot")))
    edges = re.findall(r"(?m)^\s+(\w+) -> (\w+)", text_of("docs/architecture.dot"))
    nodes -= {"node", "edge", "graph"}
    drawn = set(re.findall(r"<title>([^<]+)</title>", text_of("docs/architecture.svg")))
    assert nodes | {f"{a}&#45;&gt;{b}" for a, b in edges} <= drawn
    assert set(chain(*edges)) <= nodes


def test_help_tells_of_every_target():
    makefile = text_of("Makefile")
    phony = re.search(r"(?m)^\.PHONY: (.*)$", makefile).group(1).split()
    assert re.findall(r"(?m)^([a-z-]+):.*## ", makefile) == phony


# Habits ------------------------------------------------------------------------------------


def test_a_noqa_has_a_code_and_a_reason():
    good = re.compile(r"# ?noqa\b: [A-Z]+\d+(, [A-Z]+\d+)* +[(-] ?\w")
    bad = [
        f"{path}: {line.strip()}"
        for path in PYTHON
        for line in text_of(path).split("\n")
        if re.search(r"# ?noqa\b", line) and not good.search(line)
    ]
    assert bad == []


def test_what_is_left_to_do_names_its_issue():
    word = "TO" + "DO"
    bad = [
        str(path)
        for path in PYTHON
        if re.search(rf"\b{word}\b(?!\(#\d+\))|\bFIX{'ME'}\b", text_of(path))
    ]
    assert bad == []


def test_nothing_names_a_machine_or_a_registry():
    forbidden = re.compile(
        rb"(?<!\w)/(work|root|home|Users)/|\.\./shared|pypi\.|pythonhosted|npmjs\.|debian\.org"
    )
    others = [path for path in FILES if path != Path("tests/test_house.py")]
    found = [(str(path), forbidden.search((ROOT / path).read_bytes())) for path in others]
    assert [(path, match[0]) for path, match in found if match] == []


def test_the_lock_has_a_hash_for_everything_and_no_address():
    lock = text_of("requirements.lock")
    entries = re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]
    assert len(entries) > len(text_of("requirements.in").split())
    for entry in entries:
        assert re.match(r"[a-z0-9._\[\]-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry
    assert not re.search(r"https?:|file:/|--(extra-)?index|--find-links|--trusted", lock)


def test_the_lock_has_everything_that_is_asked_for():
    locked = set(re.findall(r"(?m)^([a-z0-9._-]+)==", text_of("requirements.lock")))
    asked = re.findall(
        r"(?m)^([A-Za-z0-9._-]+)", text_of("requirements.in") + text_of("requirements-dev.in")
    )
    assert {name.lower() for name in asked if name != "-r"} <= locked


VERIFIER = Path("keyvault/evidence/verifier")
STANDARD_LIBRARY_ALONE = [
    *(path for path in PYTHON if str(path).startswith("keyvault/domain/")),
    *map(Path, ("hsm/types.py", "hsm/errors.py", "hsm/device.py", "hsm/uri.py")),
    *(path for path in PYTHON if path.parent == VERIFIER),
]
# Every event is encoded here: the standard library's encoder took half the time of a batch.
QUICKER = {Path("keyvault/domain/canonical.py"): {"orjson"}}


@pytest.mark.parametrize("path", STANDARD_LIBRARY_ALONE, ids=str)
def test_the_rules_and_the_verifier_import_the_standard_library_alone(path):
    own = {"hsm", "keyvault", *QUICKER.get(path, ())}
    for node in ast.walk(tree_of(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names | own


def test_every_public_function_of_the_cellar_says_what_it_promises():
    bad = [
        f"{path}: {node.name}"
        for path in PRODUCT
        if path.parent == Path("hsm")
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert bad == []
