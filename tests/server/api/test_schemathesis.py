"""Whatever is sent to any operation, valid or not: no 5xx, and every refusal is a problem.

Requests are drawn from the API's own document. Bodies are random bytes, and real signed
requests and deltas with some of their bytes changed, so that they get past the first check.
"""

import json

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi_checks

from server.api.document import openapi_document

CHECKS = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.unsupported_method,
]
REQUEST = "application/vnd.lianfang.evaluation-request"
DELTA = "application/vnd.lianfang.table-delta"
APPLIED = "application/vnd.lianfang.table-acknowledgement"


@st.composite
def changed(draw, good):
    """Draw a message with a few bytes changed, and perhaps cut off."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@schemathesis.serializer(REQUEST, DELTA, APPLIED)
def send_bytes(context, value):
    return value if isinstance(value, bytes) else str(value).encode()


def send_all(world, name, examples):
    """Send cases of every operation as one partner; return how many there were."""
    signed = [world.sign(world.query(inputs).request).encode() for inputs in ((b"x",), (b"y",) * 3)]
    deltas = [world.delta(world.records(n)).encode() for n in (1, 30)]
    applied = [world.applied("police", reader=name).encode()]
    bodies = {REQUEST: signed, DELTA: deltas, "application/octet-stream": deltas, APPLIED: applied}
    for kind, good in bodies.items():
        schemathesis.openapi.media_type(kind, st.one_of(st.binary(max_size=300), changed(good)))
    schema = schemathesis.openapi.from_dict(json.loads(openapi_document()))
    statuses = []
    with requests.Session() as session:
        session.trust_env = False
        tls = {
            "verify": str(world.shop.directory / "ca.crt"),
            "cert": tuple(map(str, world.shop.credentials[name])),
        }
        base = f"https://127.0.0.1:{world.port}"
        for found in schema.get_all_operations():
            operation = found.ok()
            modes = [GenerationMode.POSITIVE]
            if len(operation.path_parameters) and not len(operation.body):
                # No bytes are wrong by the schema of a body, and without a parameter there is
                # no wrong one to draw.
                modes.append(GenerationMode.NEGATIVE)
            for mode in modes:

                @settings(
                    max_examples=examples, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @given(case=operation.as_strategy(generation_mode=mode))
                def check(case):
                    answer = case.call(base_url=base, session=session, **tls)
                    case.validate_response(answer, checks=CHECKS)
                    statuses.append(answer.status_code)
                    if answer.status_code >= 400:
                        kind = answer.headers["content-type"][0]
                        assert kind == "application/problem+json"
                        assert answer.json()["status"] == answer.status_code

                check()
    return statuses


def served_world(make_world):
    world = make_world(quota=10**9)
    for name in ("police", "telecom"):
        world.publish(world.delta(world.records(700), name=name), name=name)
    return world


@pytest.mark.parametrize("name", ["police", "outsider"])
def test_no_request_breaks_the_api(make_world, name):
    statuses = send_all(served_world(make_world), name, examples=8)
    assert len(statuses) > 100
    assert {200, 404} <= set(statuses)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["police", "insurer", "telecom", "outsider"])
def test_no_request_of_many_breaks_the_api(make_world, name):
    send_all(served_world(make_world), name, examples=150)
