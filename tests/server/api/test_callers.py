"""Who is let in, by certificate, and what everybody else is told."""

import ssl

import httpx
import pytest

from server.identity import create_authority

ROUTES = [
    "/v1/epochs/current",
    "/v1/epochs/5",
    "/v1/epochs/5/tables",
    "/v1/epochs/5/tables/police/1",
    "/v1/quota",
    "/openapi.json",
]


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_needs_a_certificate(world, route, problem):
    problem(world.client().get(route), 403, "certificate_required")


def test_health_needs_no_certificate(world):
    assert world.client().get("/healthz").json() == {"status": "alive"}
    assert world.client().get("/readyz").json() == {
        "status": "ready",
        "epoch": 5,
        "log": "starting",
    }


def test_readiness_needs_enough_holders(world, problem):
    world.others.holders.clear()
    answer = world.client().get("/readyz")
    problem(answer, 503, "not_ready")
    assert int(answer.headers["retry-after"]) > 0


def test_certificate_of_another_authority_is_refused_by_tls(world, tmp_path):
    foreign = create_authority(tmp_path / "foreign", "lianfang", world.clock.now())
    credentials = world.shop.issue("insurer", authority=foreign)
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        world.client(credentials=credentials).get("/healthz")


def test_expired_and_server_certificates_are_refused_by_tls(world):
    expired = world.shop.issue("insurer", now=world.clock.now() - 398 * 86_400)
    server = (world.shop.directory / "server.pem", world.shop.directory / "server.key")
    for credentials in (expired, server):
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            world.client(credentials=credentials).get("/healthz")


def test_name_of_another_hub_is_not_permitted(world, problem):
    """Signed by our authority, for a trust domain that is not ours."""
    authority = world.shop.authority
    elsewhere = type(authority)("other-hub", authority.certificate, authority.key)
    credentials = world.shop.issue("insurer", authority=elsewhere)
    answer = world.client(credentials=credentials).get("/v1/quota")
    problem(answer, 403, "not_permitted")


def test_unknown_and_forbidden_get_the_same_bytes(world):
    """A former partner, one without a grant, and one who posts into another's table."""
    former = world.client(credentials=world.shop.issue("former")).get("/v1/epochs/current")
    ungranted = world.client("outsider").get("/v1/quota")
    foreign = world.client("insurer").post("/v1/epochs/5/tables/police", content=b"x")
    nobody = world.client("insurer").post("/v1/epochs/5/tables/nobody", content=b"x")
    assert {a.status_code for a in (former, ungranted, foreign, nobody)} == {403}
    assert len({a.content for a in (former, ungranted, foreign, nobody)}) == 1


def test_epoch_without_part_looks_like_none(world, problem):
    world.publish(world.delta(world.records(3)))
    outsider, insurer = world.client("outsider"), world.client("insurer")
    answers = [
        outsider.get("/v1/epochs/5/tables"),
        outsider.get("/v1/epochs/5/tables/police/1"),
        outsider.get("/v1/epochs/6/tables"),
        insurer.get("/v1/epochs/6/tables"),
        insurer.get("/v1/epochs/5/tables/nobody/1"),
        insurer.get("/v1/epochs/5/tables/telecom/1"),
        insurer.get("/v1/epochs/5/tables/police/2"),
        insurer.get("/no/such/route"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    problem(answers[0], 404, "not_found")


def test_name_is_taken_from_the_certificate_alone(world, problem):
    claims = {"X-Forwarded-Client-Cert": "insurer", "Forwarded": "for=insurer"}
    answer = world.client("outsider").get("/v1/quota", headers=claims)
    problem(answer, 403, "not_permitted")


def test_tls_is_not_below_1_2_and_never_resumed(world):
    with world.raw("insurer") as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        connection.recv(1)
        assert not connection.session.has_ticket
    old = world.shop.context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((httpx.ConnectError, ssl.SSLError)):
        httpx.get(f"https://127.0.0.1:{world.port}/healthz", verify=old, trust_env=False)
