"""Scripts of ceremonies, read strictly: small, without YAML's surprises, and only what we know."""

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keyvault.domain.ceremonies import (
    ACTS,
    SCRIPT_LIMIT,
    VALUE_LIMIT,
    Kind,
    Script,
    Step,
    fits,
    references,
)
from keyvault.domain.errors import CeremonyError

MAX_STEPS = 200
# A pattern is a row of characters and classes, some of them repeated: nothing in it can make the
# matching of a short value slow.
_ATOM = r"(?:\[(?:[A-Za-z0-9 _./:-])+\]|\\d|[A-Za-z0-9 _/:-])(?:\{\d{1,3}(?:,\d{1,3})?\}|[?+])?"
_PATTERN = rf"^(?:{_ATOM}){{1,40}}$"
_REPEATS = 4  # open-ended ones in a pattern

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
Line = Annotated[str, Field(min_length=1, max_length=VALUE_LIMIT)]
Words = Annotated[str, Field(min_length=1, max_length=2_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Step(_Strict):
    id: Id
    text: Words
    sign: Annotated[tuple[Id, ...], Field(max_length=12)] = ()


class _Say(_Step):
    kind: Literal["say"]


class _Check(_Step):
    kind: Literal["check"]
    sign: Annotated[tuple[Id, ...], Field(min_length=1, max_length=12)]


class _Pause(_Step):
    kind: Literal["pause"]


class _Run(_Step):
    kind: Literal["run"]
    sign: Annotated[tuple[Id, ...], Field(min_length=1, max_length=12)]
    command: Line
    by: Id
    options: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")], Line] = {}


class _Record(_Step):
    kind: Literal["record"]
    sign: Annotated[tuple[Id, ...], Field(min_length=1, max_length=12)]
    pattern: Annotated[str, Field(pattern=_PATTERN, max_length=100)] | None = None
    example: Line
    rehearsed: Annotated[str, Field(pattern=r"^\{[a-z0-9-]+(\.[a-z0-9_]+)?\}$")] | None = None


class _Verify(_Step):
    kind: Literal["verify"]
    sign: Annotated[tuple[Id, ...], Field(min_length=1, max_length=12)]
    value: Line
    expected: Line | None = None


_Any = Annotated[_Say | _Check | _Pause | _Run | _Record | _Verify, Field(discriminator="kind")]


class _File(_Strict):
    ceremony: Id
    version: Annotated[int, Field(ge=1, le=9_999)]
    title: Line
    purpose: Words
    roles: Annotated[dict[Id, Line], Field(min_length=1, max_length=12)]
    bring: Annotated[tuple[Line, ...], Field(max_length=40)] = ()
    after: Id | None = None
    steps: Annotated[tuple[_Any, ...], Field(min_length=1, max_length=MAX_STEPS)]


class _Loader(yaml.BaseLoader):
    """Every scalar is a text; nothing stands for something else; no name stands twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if len(names) != len({str(name) for name in names}):
            raise yaml.YAMLError("a name stands twice")
        return super().construct_mapping(node, deep)


def read_script(data: bytes) -> Script:
    """Read a script and see that its steps fit together. Raises `CeremonyError`."""
    if len(data) > SCRIPT_LIMIT:
        raise CeremonyError(f"a script has at most {SCRIPT_LIMIT} bytes")
    try:
        # A subclass of BaseLoader: it makes texts, lists and mappings, and no other object.
        found = _File.model_validate(yaml.load(data, _Loader))  # noqa: S506  (see above)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise CeremonyError(f"the script cannot be read: {_told(error)}") from error
    script = _script(found, hashlib.sha256(data).hexdigest())
    for fault in _faults(script):
        raise CeremonyError(f"the script does not fit together: {fault}")
    return script


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}"[:300]
    return " ".join(str(error).split())[:300] or type(error).__name__


def _script(found: _File, digest: str) -> Script:
    return Script(
        name=found.ceremony,
        version=found.version,
        title=found.title,
        purpose=found.purpose.strip(),
        roles=dict(found.roles),
        bring=found.bring,
        steps=tuple(map(_step, found.steps)),
        sha256=digest,
        after=found.after or "",
    )


def _step(found: Any) -> Step:
    given = {name: value for name, value in found.model_dump().items() if value is not None}
    given |= {"kind": Kind(found.kind), "text": found.text.strip(), "sign": tuple(found.sign)}
    return Step(**given)


def _faults(script: Script) -> Iterator[str]:
    before: dict[str, tuple[str, ...]] = {"people": tuple(script.roles)}
    for step in script.steps:
        if step.id in before:
            yield f"there are two steps {step.id}"
        named = (*step.sign, *filter(None, (step.by,)))
        if unknown := sorted(set(named) - set(script.roles)):
            yield f"{step.id} names roles that there are not: {', '.join(unknown)}"
        if len(set(step.sign)) != len(step.sign):
            yield f"{step.id} wants two signatures of one role"
        yield from _faults_of(step, before)
        before[step.id] = _leaves(step)


def _leaves(step: Step) -> tuple[str, ...]:
    if step.kind is Kind.RUN:
        return ACTS[step.command].fields if step.command in ACTS else ()
    return ("value",) if step.kind in (Kind.RECORD, Kind.VERIFY) else ()


def _faults_of(step: Step, before: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for text in (*step.options.values(), step.value, step.expected):
        for name, part in references(text):
            if part not in before.get(name, ()):
                yield f"{step.id} asks for {name}.{part}, which no earlier step leaves"
    if step.kind is Kind.RUN:
        yield from _faults_of_command(step)
    if step.kind is Kind.RECORD:
        if len(re.findall(r"[+]|,\d{1,3}\}", step.pattern)) > _REPEATS:
            yield f"the pattern of {step.id} repeats too much"
        elif not fits(step.pattern, step.example):
            yield f"the example of {step.id} does not fit its pattern"


def _faults_of_command(step: Step) -> Iterator[str]:
    act = ACTS.get(step.command)
    if act is None:
        yield f"{step.id} runs {step.command}; a script may run: {', '.join(sorted(ACTS))}"
        return
    if missing := sorted(set(act.places) - set(step.options)):
        yield f"{step.id} lacks: {', '.join(missing)}"
    if unknown := sorted(set(step.options) - {*act.places, *act.options}):
        yield f"{step.command} takes no {', '.join(unknown)}"
