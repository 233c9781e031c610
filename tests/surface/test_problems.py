"""The table from error to answer: complete, stable, silent about what it does not know."""

from collections.abc import Iterator

import orjson
import pytest
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from api.rest.problems import AT_THE_DESK, STATUS, UNLISTED, problem_of
from api.rest.schemas.keys import OrderIn
from hsm import errors as hsm
from keyvault.domain import errors as vault
from keyvault.wire.errors import RemoteError


def family(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for child in base.__subclasses__():
        yield from family(child)


def of_the_house(kind: type[Exception]) -> bool:
    """A process's own errors, such as the sealer's, never come to the surface."""
    return kind.__module__ in {hsm.__name__, vault.__name__, RemoteError.__module__}


def test_every_error_of_the_house_stands_in_the_table_or_is_left_out_by_name():
    known = {kind for base in (vault.VaultError, hsm.HsmError) for kind in family(base)}
    known = {k for k in known if of_the_house(k) and not issubclass(k, AT_THE_DESK)}
    assert known == set(STATUS) | UNLISTED


def test_codes_are_stable_and_belong_to_one_error_each():
    codes = [kind.code for kind in STATUS]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("-", "").isalnum() and code.islower() for code in codes)


def test_a_problem_says_what_why_and_what_next():
    error = vault.KeyStateError("the key is suspended", next_step="resume it")
    body = orjson.loads(problem_of(error).response("abc").body)
    assert body == {
        "type": "urn:keyvault:problem:key-state",
        "title": "Conflict",
        "status": 409,
        "detail": "the key is suspended",
        "code": "key-state",
        "next_step": "resume it",
        "instance": "urn:uuid:abc",
    }


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PIN 1234 refused"),
        vault.VaultError("raw"),
        hsm.HsmError("raw"),
        RemoteError("raw", code="no-such-code"),
        HTTPException(418, "teapot"),
        KeyError("secret"),
    ],
)
def test_an_unlisted_error_says_nothing(error):
    problem = problem_of(error)
    assert (problem.status, problem.code) == (500, "internal")
    assert not any(word in problem.detail for word in ("1234", "raw", "teapot", "secret"))


@pytest.mark.parametrize(
    ("error", "status"), [(vault.BusyError, 429), (hsm.DeviceTimeoutError, 503)]
)
def test_what_may_work_later_says_when_to_come_back(error, status):
    response = problem_of(error("later")).response("abc")
    assert response.status_code == status
    assert int(response.headers["retry-after"]) >= 1


def test_an_open_circuit_says_how_long_it_stays_open():
    error = hsm.DeviceUnavailableError("down")
    error.retry_after = 7.6
    assert problem_of(error).response("abc").headers["retry-after"] == "8"


def test_401_names_the_way_to_authenticate():
    response = problem_of(vault.NotAuthenticatedError("no certificate")).response("abc")
    assert response.headers["www-authenticate"].startswith("TLS-Client-Certificate")


def test_a_body_that_does_not_fit_is_told_where_but_not_quoted():
    with pytest.raises(ValidationError) as caught:
        OrderIn.model_validate_json(b'{"label": "hunter2-canary", "protect_days": "canary"}')
    problem = problem_of(caught.value)
    assert problem.status == 422
    assert "body/protect_days" in {fault["pointer"] for fault in problem.faults}
    assert b"canary" not in problem.response("abc").body
