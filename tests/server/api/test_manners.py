"""HEAD, OPTIONS, addresses, heads, lengths, codings, ends of operations, pages and the contact."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from compliance.agreement.bundle import Bundle
from compliance.agreement.profile import shipped_bytes
from compliance.agreement.vocabulary import Title
from compliance.configuration import ConfigError
from server.api.app import describe_app
from server.api.bursts import Buckets, Pace, network_of
from server.api.document import openapi_document
from server.api.retiring import RETIRING, Retirement
from server.contact import check_contact, security_text

JSON = {"Content-Type": "application/json"}
CONTACT = "mailto:security@hub.example"
PARTNER = Pace(burst=20, per_s=5)
ENDING = Retirement(1_790_000_000, 1_800_000_000, "https://hub.example/ends", "/v2/quota")


def named(world, contact=CONTACT):
    world.served.app.state.parts = replace(world.parts, contact=contact)
    return world


def test_contact_needs_no_certificate(world, problem):
    missing = world.client().get("/.well-known/security.txt")
    problem(missing, 404, "not_found")
    answer = named(world).client().get("/.well-known/security.txt")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"] == CONTACT
    ends = datetime.strptime(fields["Expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 170 < (ends - datetime.fromtimestamp(world.clock.now(), UTC)).days < 365


def test_contact_is_the_same_all_day():
    noon = 1_800_000_000 // 86_400 * 86_400 + 43_200
    assert security_text(CONTACT, noon) == security_text(CONTACT, noon + 43_199)
    assert security_text(CONTACT, noon) != security_text(CONTACT, noon + 43_200)


@pytest.mark.parametrize("good", ["", CONTACT, "https://hub.example/report", "tel:+886212345678"])
def test_contacts_of_the_three_kinds_are_taken(good):
    check_contact(good)


@pytest.mark.parametrize(
    "bad", ["security@hub.example", "http://hub.example", CONTACT + "\nContact: x", "mailto:@"]
)
def test_other_contacts_are_refused(bad):
    with pytest.raises(ConfigError, match="contact"):
        check_contact(bad)


def test_head_is_get_without_its_body(world):
    world.publish(world.delta(world.records(3)))
    client = world.client("insurer")
    for path in ("/healthz", "/v1/epochs/current", "/v1/epochs/5/tables/police/1", "/v1/log"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        for name in ("content-length", "content-type", "etag"):
            assert head.headers.get(name) == got.headers.get(name)
    # The connection is in step still.
    assert client.get("/healthz").json() == {"status": "alive"}


def test_head_of_a_table_is_entered_as_its_get(world):
    world.publish(world.delta(world.records(3)))
    before = len(world.entries())
    world.client("insurer").head("/v1/epochs/5/tables/police/1")
    assert len(world.entries()) == before + 1


def test_head_needs_the_certificate_too(world):
    answer = world.client().head("/v1/quota")
    assert (answer.status_code, answer.content) == (403, b"")


def test_options_and_405_name_every_method(world, problem):
    client, expected = world.client("insurer"), {}
    for path, methods in json.loads(openapi_document())["paths"].items():
        filled = path.format(
            epoch=5, contributor="police", version=1, index=0, year=2026, path="0/000",
            digest="a" * 64, document="a" * 64, party="police", number="a" * 32,
        )  # fmt: skip
        expected.setdefault(filled, set()).update(method.upper() for method in methods)
    # Two templates fit this one: the routes, and so the answer, are of the first.
    for path, methods in expected.items():
        answer = client.options(path)
        allowed = set(answer.headers["allow"].split(", "))
        assert (answer.status_code, answer.content) == (204, b"")
        assert methods <= allowed, path
        assert "OPTIONS" in allowed
        assert ("HEAD" in allowed) == ("GET" in methods), path
        assert not any(name.startswith("access-control") for name in answer.headers)
        refused = client.patch(path)
        problem(refused, 405, "method_not_allowed")
        assert set(refused.headers["allow"].split(", ")) == allowed
    problem(client.options("/v1/nothing"), 404, "not_found")


def test_long_addresses_and_heads_are_refused(world, problem):
    client = world.client("insurer")
    problem(client.get("/v1/quota?" + "x" * 2100), 414, "target_too_long")
    problem(client.get("/" + "x" * 2100), 414, "target_too_long")
    assert client.get("/v1/quota", headers={"X": "x" * 15_000}).status_code == 200
    problem(client.get("/v1/quota", headers={"X": "x" * 17_000}), 431, "head_too_large")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
def test_compressed_bodies_are_refused(world, problem, coding):
    answer = world.post(
        world.sign(world.query((b"x",)).request), headers={"Content-Encoding": coding}
    )
    problem(answer, 415, "content_encoding")
    assert answer.headers["accept-encoding"] == "identity"
    assert world.used() == 0


def test_identity_is_no_coding(world):
    request = world.sign(world.query((b"x",)).request)
    assert world.post(request, headers={"Content-Encoding": "identity"}).status_code == 200


def test_answers_are_never_compressed(world):
    answer = world.client("insurer").get("/openapi.json", headers={"Accept-Encoding": "gzip, br"})
    assert "content-encoding" not in answer.headers


def test_no_operation_is_deprecated_unless_the_table_says_so():
    document = json.loads(openapi_document())
    marked = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if operation.get("deprecated")
    }
    assert marked == set(RETIRING)


def test_operation_that_will_end_says_so(make_world, problem):
    world = make_world(retiring={"quota": ENDING})
    answers = [world.client("insurer").get("/v1/quota"), world.client("outsider").get("/v1/quota")]
    assert [answer.status_code for answer in answers] == [200, 403]
    for answer in answers:
        assert answer.headers["deprecation"] == "@1790000000"
        assert parsedate_to_datetime(answer.headers["sunset"]).timestamp() == ENDING.ends_at
        assert answer.headers["link"] == (
            '<https://hub.example/ends>; rel="deprecation"; type="text/html", '
            '</v2/quota>; rel="successor-version"'
        )
    other = world.client("insurer").get("/v1/log")
    assert {"deprecation", "sunset", "link"}.isdisjoint(other.headers)
    assert describe_app({"quota": ENDING}).openapi()["paths"]["/v1/quota"]["get"]["deprecated"]


def test_no_operation_ends_before_it_is_announced():
    with pytest.raises(ValueError, match="announced"):
        replace(ENDING, ends_at=ENDING.deprecated_at - 1)


def test_bursts_are_refused_for_one_caller_alone(make_world, problem):
    world = make_world(partner=Pace(5, 0.5), stranger=Pace(3, 0.01))
    insurer = world.client("insurer")
    answers = [insurer.get("/v1/quota") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    value = problem(answers[-1], 429, "too_many_requests")
    assert "detail" not in value
    assert answers[-1].headers["ratelimit-policy"] == '"burst";q=5;w=10'
    assert answers[-1].headers["ratelimit"] == '"burst";r=0;t=2'
    assert answers[-1].headers["retry-after"] == "2"
    assert answers[-1].headers["x-request-id"]
    assert world.client("police").get("/v1/quota").status_code == 200
    strangers = [world.client().get("/healthz").status_code for _ in range(4)]
    assert strangers == [200, 200, 200, 429]


def test_a_bucket_fills_with_time_and_never_over():
    now = [0.0]
    buckets = Buckets(clock=lambda: now[0])
    assert [buckets.take("a", PARTNER) is None for _ in range(21)] == [True] * 20 + [False]
    assert buckets.take("a", PARTNER).wait_s == 1
    now[0] = 1.0
    assert [buckets.take("a", PARTNER) is None for _ in range(6)] == [True] * 5 + [False]
    now[0] = 1e6
    assert [buckets.take("a", PARTNER) is None for _ in range(21)] == [True] * 20 + [False]
    assert buckets.take("b", PARTNER) is None


def test_memory_of_callers_is_bounded():
    buckets = Buckets(clock=lambda: 0.0)
    for number in range(5000):
        buckets.take(f"address {number}", PARTNER)
    assert len(buckets._callers) == 4096


def test_addresses_of_one_network_are_one_caller():
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("") == ""


def test_list_of_agreements_comes_in_pages(world, make_agreed, problem):
    client = world.client("insurer")
    for number in range(4):
        title = Title(f"Draft {number}", "草案")
        draft = make_agreed(former=world.agreed.agreement, signed_by=[], title=title)
        bundle = Bundle(draft.signed, profile=shipped_bytes("tw"))
        answer = client.post("/v1/agreements", content=bundle.encode(), headers=JSON)
        assert answer.status_code == 200, answer.text
    whole = client.get("/v1/agreements").json()
    assert (len(whole["agreements"]), whole["next"]) == (5, None)
    found, cursor = [], {}
    for size in (2, 2, 1):
        page = client.get("/v1/agreements", params={"limit": 2} | cursor).json()
        assert len(page["agreements"]) == size
        found += page["agreements"]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None
    assert found == whole["agreements"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("cursor=AAAA", "unsupported_parameter"), ("cursor=A", "unsupported_parameter"),
        ("cursor=%3D", "invalid_parameter"), ("cursor=" + "A" * 129, "invalid_parameter"),
        ("cursor=", "invalid_parameter"), ("limit=0", "invalid_parameter"),
        ("limit=1001", "invalid_parameter"), ("limit=x", "invalid_parameter"),
    ],
)  # fmt: skip
def test_wrong_pages_are_refused(world, problem, query, code):
    problem(world.client("insurer").get(f"/v1/agreements?{query}"), 422, code)


def test_every_time_in_a_document_tells_its_unit():
    """Times are Unix seconds everywhere; a header field alone has a date."""
    schemas = json.loads(openapi_document())["components"]["schemas"]
    silent = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, described in schema.get("properties", {}).items()
        if described.get("type") == "integer"
        and re.fullmatch(r"at|\w+_at|not_\w+", field)
        and "Unix seconds" not in described.get("description", "")
    ]
    assert silent == []
