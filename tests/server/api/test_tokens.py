"""Access tokens over real TLS: given to a certificate, good beside it, and nowhere else."""

import json
import warnings
from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, OKPKey

from server.tokens.tokens import LIFETIME_S

FORM = "application/x-www-form-urlencoded"
HEAD = {"Content-Type": FORM}


def ask(client, scope="lookup", **fields):
    form = {"grant_type": "client_credentials", "scope": scope} | fields
    return client.post("/v1/token", data=form)


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def token(world, name="insurer", scope="lookup"):
    return ask(world.client(name), scope).json()["access_token"]


def thumbprint(world, name):
    pem = world.shop.credentials[name][0].read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return urlsafe_b64encode(sha256(der).digest()).rstrip(b"=").decode()


def read(world, text):
    """Verify a token as another program would: by the published keys."""
    keys = KeySet.import_key_set(world.client().get("/v1/jwks").json())
    return jwt.decode(text, keys, algorithms=["Ed25519"])


def oauth_client(*arguments, **settings):
    with warnings.catch_warnings():
        import authlib.deprecate  # noqa: F401, PLC0415  it sets a filter of its own

        # Of a package that its next version will want in the place of httpx.
        warnings.simplefilter("ignore")
        from authlib.integrations.httpx_client import OAuth2Client  # noqa: PLC0415
    return OAuth2Client(*arguments, **settings)


def test_a_library_gets_a_token_by_the_metadata_alone(world):
    metadata = world.client().get("/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == "https://hub.example"
    assert metadata["token_endpoint"] == "https://hub.example/v1/token"
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    context = world.shop.context(world.shop.credentials["insurer"])
    with oauth_client(
        "insurer", token_endpoint_auth_method="none", verify=context, trust_env=False
    ) as client:
        path = metadata["token_endpoint"].removeprefix(metadata["issuer"])
        here = f"https://127.0.0.1:{world.port}"
        client.fetch_token(here + path, grant_type="client_credentials", scope="lookup")
        assert client.get(f"{here}/v1/quota").status_code == 200


def test_what_a_token_says(world):
    answer = ask(world.client("insurer"), "lookup log")
    assert answer.headers["cache-control"] == "no-store"
    given = answer.json()
    assert {name: given[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer", "expires_in": LIFETIME_S, "scope": "lookup log",
    }  # fmt: skip
    found = read(world, given["access_token"])
    assert found.header["typ"] == "at+jwt"
    assert found.claims.pop("jti")
    now = world.clock.now()
    assert found.claims == {
        "iss": "https://hub.example", "aud": "https://hub.example", "sub": "insurer",
        "client_id": "insurer", "iat": now, "exp": now + LIFETIME_S, "scope": "lookup log",
        "cnf": {"x5t#S256": thumbprint(world, "insurer")},
    }  # fmt: skip


def test_published_keys_have_no_private_half(world):
    assert token(world)
    (key,) = world.client().get("/v1/jwks").json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}


@pytest.mark.parametrize(
    ("form", "refusal"),
    [
        (b"grant_type=client_credentials", (400, *["invalid_scope"] * 2)),
        (b"grant_type=client_credentials&scope=all", (400, *["invalid_scope"] * 2)),
        (b"grant_type=client_credentials&scope=lookup++log", (400, *["invalid_scope"] * 2)),
        (b"grant_type=password&scope=lookup", (400, *["unsupported_grant_type"] * 2)),
        (b"", (400, *["unsupported_grant_type"] * 2)),
        (b"scope=lookup&scope=log", (400, "token_request", "invalid_request")),
        (b"\xff", (400, "token_request", "invalid_request")),
        (b"grant_type=client_credentials&scope=lookup&client_id=telecom",
         (401, *["invalid_client"] * 2)),
    ],
)  # fmt: skip
def test_wrong_requests_are_refused_as_oauth_says(world, problem, form, refusal):
    status, code, error = refusal
    answer = world.client("insurer").post("/v1/token", content=form, headers=HEAD)
    assert problem(answer, status, code)["error"] == error


def test_tokens_need_a_certificate_of_a_partner(world, problem):
    problem(ask(world.client()), 403, "certificate_required")
    problem(ask(world.client(credentials=world.shop.issue("former"))), 403, "not_permitted")
    answer = world.client("insurer").post("/v1/token", json={})
    problem(answer, 415, "media_type")


def test_a_lookup_goes_through_with_a_token(world):
    request = world.sign(world.query((b"x",)).request)
    assert world.post(request, headers=bearer(token(world))).status_code == 200


def test_a_stolen_token_opens_nothing_changes_nothing_and_is_logged(world, problem, caplog):
    """By another partner's certificate, by a second one of the same partner, and by none."""
    stolen = token(world)
    request = world.sign(world.query((b"x",)).request)
    used, entries = world.used(), len(world.entries())
    others = [
        world.client("telecom"),
        world.client(credentials=world.shop.issue("insurer")),
        world.client(),
    ]
    caplog.set_level("INFO")
    for client in others:
        sent = {
            "Content-Type": "application/vnd.lianfang.evaluation-request",
            "Idempotency-Key": request.request_id.hex(),
        }
        answer = client.post(
            "/v1/evaluations", content=request.encode(), headers=sent | bearer(stolen)
        )
        problem(answer, 401, "invalid_token")
        assert (
            answer.headers["www-authenticate"] == 'Bearer realm="lianfang", error="invalid_token"'
        )
    # The line of a request is written once its answer has left.
    world.client().get("/healthz")
    lines = [json.loads(record.message) for record in caplog.records if "{" in record.message]
    refused = [line for line in lines if line["event"] == "token_refused"]
    assert [line["partner"] for line in refused] == ["telecom", "insurer", "-"]
    answered = [line["status"] for line in lines if line["event"] == "request"]
    assert answered[:3] == [401] * 3
    assert stolen not in caplog.text
    assert (world.used(), len(world.entries())) == (used, entries)


def test_a_token_ends_after_ten_minutes_and_not_before(world, problem):
    text, client = token(world), world.client("insurer")
    world.clock.advance(LIFETIME_S - 1)
    assert client.get("/v1/quota", headers=bearer(text)).status_code == 200
    world.clock.advance(1)
    problem(client.get("/v1/quota", headers=bearer(text)), 401, "invalid_token")
    world.clock.advance(-2 * LIFETIME_S)
    problem(client.get("/v1/quota", headers=bearer(text)), 401, "invalid_token")


def test_a_token_dies_with_its_partner(world, problem):
    text, client = token(world), world.client("insurer")
    world.home.revoke("insurer", world.clock.now())
    world.served.app.state.parts = world.parts
    answer = client.get("/v1/quota", headers=bearer(text))
    problem(answer, 403, "partner_revoked")


def forged(world, key=None, head=(), **changes):
    """A token as the hub's own, but for what is given; signed by a key of our own if need be."""
    found = read(world, token(world))
    header = {"alg": "Ed25519", "typ": "at+jwt", "kid": found.header["kid"]} | dict(head)
    claims = {**found.claims, **changes}
    mine = world.parts.tokens._key.signing() if key is None else key
    return jwt.encode(header, claims, mine, algorithms=[header["alg"]])


def keys():
    own = Ed25519PrivateKey.generate()
    pem = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return OKPKey.import_key(pem)


def test_what_the_key_did_not_sign_as_it_signs_is_no_token(world, problem):
    client = world.client("insurer")
    good = token(world)
    assert client.get("/v1/quota", headers=bearer(forged(world))).status_code == 200
    public = json.dumps(world.client().get("/v1/jwks").json()["keys"][0])
    head, body, signature = good.split(".")
    none = urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    wrong = [
        forged(world, key=keys()),
        forged(world, key=OctKey.import_key(public.encode()), head={"alg": "HS256"}),
        forged(world, head={"typ": "JWT"}),
        forged(world, head={"kid": "another"}),
        forged(world, iss="https://other.example"),
        forged(world, aud="https://other.example"),
        forged(world, sub="telecom"),
        forged(world, client_id="telecom"),
        forged(world, exp=world.clock.now()),
        forged(world, exp="9999999999"),
        forged(world, exp=True),
        forged(world, iat=world.clock.now() + 3600),
        forged(world, cnf={}),
        forged(world, cnf={"x5t#S256": ""}),
        forged(world, cnf={"x5t#S256": thumbprint(world, "telecom")}),
        forged(world, cnf={"jkt": thumbprint(world, "insurer")}),
        forged(world, extra="more"),
        f"{none}.{body}.",
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}",
        "x" * 5000,
        "a.b.c",
    ]
    for text in wrong:
        problem(client.get("/v1/quota", headers=bearer(text)), 401, "invalid_token")
    for value in ("", "Bearer", "Basic aW5zdXJlcjp4", f"Token {good}", f"Bearer {good} {good}"):
        answer = client.get("/v1/quota", headers={"Authorization": value})
        problem(answer, 401, "invalid_token")
    twice = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    problem(client.get("/v1/quota", headers=twice), 401, "invalid_token")


def test_a_scope_that_is_missing_is_named(world, problem):
    answer = world.client("insurer").get("/v1/log", headers=bearer(token(world)))
    problem(answer, 403, "insufficient_scope")
    assert answer.headers["www-authenticate"].endswith('error="insufficient_scope", scope="log"')
    head = world.client("insurer").head("/v1/log", headers=bearer(token(world)))
    assert head.status_code == 403


def test_a_new_key_lets_the_tokens_of_the_one_before_end(world, problem):
    client, key = world.client("insurer"), world.parts.tokens._key
    first = token(world)
    key.replace()
    second = token(world)
    for text in (first, second):
        assert client.get("/v1/quota", headers=bearer(text)).status_code == 200
    assert len(world.client().get("/v1/jwks").json()["keys"]) == 2
    key.replace()
    problem(client.get("/v1/quota", headers=bearer(first)), 401, "invalid_token")
    assert client.get("/v1/quota", headers=bearer(second)).status_code == 200


def test_the_key_is_the_hubs_alone(world):
    assert token(world)
    path = world.home.authority / "token.key"
    assert path.stat().st_mode & 0o777 == 0o600
