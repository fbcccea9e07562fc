"""A hub's agreements behind its real application; who calls is said where TLS would say it."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.bundle import Bundle
from compliance.agreement.profile import shipped_bytes
from compliance.agreement.store import AgreementStore
from compliance.clock import FixedClock
from server.agreements.routes import router
from server.agreements.service import Agreements
from server.api.app import describe_app
from server.api.guard import Guard
from server.api.tls import EXTENSION

HUB, NOW = "lianfang", 1_800_000_000
PARTNERS = ("insurer", "police", "telecom")


@dataclass
class Parts:
    """What the routes of agreements take from the hub's parts."""

    hub: str
    agreements: Agreements
    identities: object


@dataclass
class Client:
    """One caller of an application in this process."""

    app: object

    def request(self, method, path, **more):
        async def exchange():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="https://hub") as client:
                return await client.request(method, path, **more)

        return asyncio.run(exchange())

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)

    def put(self, path, **more):
        return self.request("PUT", path, **more)


@dataclass
class Desk:
    """The hub's agreements, and everybody who may call."""

    keys: dict
    parts: Parts
    clock: FixedClock
    app: object
    directory: Path

    @property
    def store(self):
        """What is on the disk, read by another process."""
        return AgreementStore(self.directory, dict(self.parts.agreements.store.identities))

    def client(self, name):
        """Return a client with the certificate of this node, or with none."""

        async def introduced(scope, receive, send):
            peer = {"certificate": name is not None, "name": name}
            scope.setdefault("extensions", {})[EXTENSION] = peer
            await self.app(scope, receive, send)

        return Client(introduced)

    def offer(self, name, agreed, *, signed=(), profile=None):
        """Hand an agreement in with the signatures of these."""
        bundle = Bundle(agreed.by(*signed), profile=profile or shipped_bytes("tw"))
        return self.client(name).post("/v1/agreements", content=bundle.encode(), headers=JSON)

    def sign(self, name, agreed, *, party=None, signature=None):
        """Put a signature; the caller's own unless told otherwise."""
        word = agreed.signed.signatures[party or name] if signature is None else signature
        path = f"/v1/agreements/{agreed.agreement.digest.hex()}/signatures/{party or name}"
        return self.client(name).put(path, json={"signature": word.hex()})

    def revoke(self, name, agreed, word=None):
        """Post a revocation; the caller's own unless another one is given."""
        word = word or agreed.revocation(name, now=self.clock.now())
        path = f"/v1/agreements/{agreed.agreement.digest.hex()}/revocations"
        return self.client(name).post(path, content=word.encode(), headers=JSON)

    def whole(self, agreed):
        """Bring an agreement in force: offered by one, signed by all."""
        assert self.offer("insurer", agreed, signed=agreed.agreement.names).status_code == 200
        return agreed


JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="session")
def keys():
    return {name: Ed25519PrivateKey.generate() for name in ("hub", *PARTNERS, "outsider")}


@pytest.fixture
def desk(tmp_path, keys):
    """A hub that everybody has joined; nobody has agreed to anything."""
    clock, directory = FixedClock(NOW), tmp_path / "agreements"
    public = {name: key.public_key() for name, key in keys.items()}
    agreements = Agreements(AgreementStore(directory, public), HUB, clock)
    app = describe_app()
    known = {getattr(route, "path", "") for route in app.routes}
    if "/v1/agreements" not in known:
        app.include_router(router)
    app.state.parts = parts = Parts(HUB, agreements, public.get)
    app.add_middleware(Guard)
    return Desk(keys, parts, clock, app, directory)


@pytest.fixture
def drafted(desk, agree):
    """Make an agreement between the hub and the three partners."""

    def make(**terms):
        parties = {name: desk.keys[name] for name in ("hub", *PARTNERS)}
        return agree(parties, **{"hub": HUB} | terms)

    return make


@pytest.fixture
def problem():
    """Check that an answer is this problem, and return its detail."""

    def check(answer, status, code):
        assert (answer.status_code, json.loads(answer.content)["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.json().get("detail", "")

    return check
