"""The committed description of the API is the one that the code gives."""

import json
from pathlib import Path

from server.api.document import openapi_document

COMMITTED = Path(__file__).with_name("openapi.json")
CURE = "python -m server.api.document > tests/server/api/openapi.json"


def operations():
    for path, methods in json.loads(openapi_document())["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_committed_document_is_current():
    assert COMMITTED.read_text() == openapi_document(), CURE


def test_partners_are_given_the_same_document(world):
    found = world.client("insurer").get("/openapi.json").json()
    assert found == json.loads(openapi_document())
    assert found["openapi"].startswith("3.1")


def test_every_refusal_is_described_as_a_problem():
    seen = set()
    for name, operation in operations():
        seen.add(operation["operationId"])
        assert "default" in operation["responses"], name
        for status, answer in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (name, status)
    assert len(seen) == len(list(operations())) == 35


def test_no_parameter_could_hold_an_identifier():
    names = {
        parameter["name"]
        for _, operation in operations()
        for parameter in operation.get("parameters", [])
    }
    assert names == {
        "epoch", "contributor", "version", "index", "since", "idempotency-key", "year", "path",
        "digest", "party", "document", "number", "Lianfang-Proof", "cursor", "limit",
    }  # fmt: skip
