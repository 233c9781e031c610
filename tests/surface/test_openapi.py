"""The OpenAPI document: whole, true to the service, and fit for a client generator."""

import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import schemathesis
from jsonschema_rs import ValidationError, meta

from keyvault.domain.access import SYSTEM_ACTIONS
from tests.stack import Stack, ok

# What JSON Schema cannot say: which usage an algorithm has or which digest a key takes, that one
# number is no larger than another, that base64 holds a certificate or a signature by a person.
# Such calls are refused with 422 although their bodies fit the schema.
BEYOND_SCHEMA = [
    "order_key",
    "start_ceremony",
    "close_ceremony",
    "declare_compromise",
    "record_notice",
    "import_key",
    "ask",
    "decide_request",
    "log_in",
    "prove_inclusion",
    "prove_consistency",
    "export_key",
    "export_evidence",
    "sign",
    "verify",
    "encrypt",
    "decrypt",
    "mac",
    "derive_and_mac",
    "derive_and_check_mac",
    "derive_and_encrypt",
    "derive_and_decrypt",
    "reserve_counters",
    "raise_counter_floor",
    "build_requests",
    "submit_requests",
    "accept_certificates",
    "take_answers",
    "watch_certificate",
    "state_of_token",
    "countersign_statement",
    "certify_key",
    "record_signed_file",
    "verify_signed_file",
]
# Exclusive fields and lists of hundreds of items: the generator takes minutes for each.
LONG_LISTS = [
    "sign",
    "build_requests",
    "submit_requests",
    "accept_certificates",
    "take_answers",
]
SEED = "20261122"  # the same cases in every run; the soak test draws new ones
CONFIG = f"""\
[generation]
codec = "ascii"
[[operations]]
include-operation-id = {BEYOND_SCHEMA}
checks.positive_data_acceptance.enabled = false
[[operations]]
include-operation-id = {LONG_LISTS}
phases.coverage.enabled = false
"""


@pytest.fixture(scope="module")
def stack():
    """A service of its own: what explores it declares keys compromised as it pleases."""
    with Stack.make() as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def dcc(stack: Stack):
    return stack.system("dcc-1", *(str(action) for action in SYSTEM_ACTIONS))


@pytest.fixture(scope="module")
def document(stack: Stack):
    return ok(stack.person("alice").client().get("/openapi.json"))


def operations(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_is_valid_openapi_3_1(document):
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_a_document_that_is_no_openapi_would_be_noticed(document):
    broken = {**document, "paths": {"/v1/keys": {"get": {"responses": "none"}}}}
    with pytest.raises(ValidationError):
        schemathesis.openapi.from_dict(broken).validate()


def test_every_operation_has_a_name_of_its_own_that_is_an_identifier(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names) > 40
    assert all(name.isidentifier() for name in names)


def test_every_answer_with_a_body_has_a_schema(document):
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if status == "204":
                continue
            assert response["content"], (path, method, status)
            bodies = response["content"].values()
            assert all(media.get("schema") for media in bodies), (path, method, status)


def test_every_error_is_documented_as_a_problem(document):
    for path, method, operation in operations(document):
        statuses = set(operation["responses"])
        assert {"401", "422", "429", "500", "503"} <= statuses, (path, method)
        for status in statuses - {"200", "201", "202", "204"}:
            content = operation["responses"][status]["content"]
            problem = content["application/problem+json"]["schema"]
            assert problem == {"$ref": "#/components/schemas/Problem"}


def test_every_reference_leads_somewhere(document):
    def references(node):
        if isinstance(node, dict):
            yield from (value for key, value in node.items() if key == "$ref")
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                yield from references(item)

    schemas = document["components"]["schemas"]
    wanted = set(references(document))
    assert wanted
    assert wanted <= {f"#/components/schemas/{name}" for name in schemas}


def test_bodies_forbid_fields_that_nobody_knows(document):
    schemas = document["components"]["schemas"]
    for path, _, operation in operations(document):
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            for one in schema.get("oneOf", [schema]):
                name = one["$ref"].rpartition("/")[2]
                assert schemas[name]["additionalProperties"] is False, (path, name)


def test_only_logging_in_health_and_the_status_of_certificates_are_open(document):
    assert document["security"] == [{"mutualTls": []}]
    is_open = {o["operationId"] for _, _, o in operations(document) if o.get("security") == []}
    about = {"get_authority_certificate", "get_revocation_list", "ask_status", "get_status"}
    about |= {"stop_in_emergency", "report_token_in_emergency"}
    assert is_open == {"create_challenge", "log_in", "is_alive", "is_ready"} | about


def explore(folder: Path, stack: Stack, document, pair, *options: str) -> None:
    """Let schemathesis try the service with this client certificate; it has to find nothing."""
    (folder / "openapi.json").write_bytes(orjson.dumps(document))
    (folder / "schemathesis.toml").write_text(CONFIG)
    certificate, key = map(str, pair)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
    command += ["run", "openapi.json", "--url", stack.url, "--tls-verify", str(stack.ca)]
    command += ["--request-cert", certificate, "--request-cert-key", key, "--no-color"]
    # A session that logs out in the middle would leave the rest unseen.
    # And questions by OCSP are no JSON: the generator has no words for them.
    command += ["--exclude-operation-id", "log_out", "--exclude-operation-id", "ask_status"]
    command += ["--continue-on-failure", *options]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert cases, run.stdout[-2000:]
    assert int(cases[1]) == int(cases[2]) > 100


def test_schemathesis_finds_nothing_as_an_officer(stack, document, tmp_path):
    pair = officer(stack, "explorer").log_in()
    explore(tmp_path, stack, document, pair, "--phases", "fuzzing", "-n", "1", "--seed", SEED)


@pytest.mark.soak
def test_schemathesis_finds_nothing_as_a_system(stack, document, tmp_path, dcc):
    pair = dcc.certificate, dcc.key
    explore(tmp_path, stack, document, pair, "--phases", "fuzzing", "-n", "4", "--seed", SEED)


@pytest.mark.soak
def test_schemathesis_finds_nothing_however_long_it_looks(stack, document, tmp_path):
    for person in (officer(stack, "frank"), stack.register("grace", "auditor")):
        pair = person.log_in()
        explore(tmp_path, stack, document, pair, "--phases", "coverage,fuzzing", "-n", "100")


def officer(stack: Stack, name: str):
    """A person with all the roles that one may hold together, and so nearly every right."""
    return stack.register(name, "key-custodian", "key-approver", "registrar", "incident-lead")
