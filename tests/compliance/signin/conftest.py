"""An insurer's console over a real office, browsers for it, and authenticators in software."""

import json
import random
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

from compliance.agreement.vocabulary import Title
from compliance.clock import FixedClock
from compliance.log.storage import Place
from compliance.office.opening import open_office
from compliance.signin.pages.assembling import open_console
from compliance.signin.settings import IssuerSettings, SignInSettings
from compliance.staff.staff import Staff
from protocols.tlog.entry import Entry
from tests.browsers import CHEAP, NOW, ORIGIN, STAFF, Browser, hired

NAMES = ("hub", "insurer", "police", "telecom")
TITLE = Title("Formosa Life", "福爾摩沙人壽")


@dataclass
class Scene:
    """A console, its staff and its log."""

    console: object
    staff: Staff
    office: object
    clock: FixedClock
    root: object

    @property
    def door(self):
        return self.console.door

    def browser(self, address="203.0.113.7"):
        return Browser(self.console.site.app(), address=address)

    def signed_in(self, name="amy", **options):
        browser = self.browser(**options)
        answer = browser.sign_in(name)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        return browser

    def change(self, name, **changes):
        """Change an account as another process would."""
        with Staff(self.root, cost=CHEAP).exclusive() as (accounts, store):
            store({**accounts, name: replace(accounts[name], changed=NOW + 1, **changes)})

    def entries(self):
        log = self.office.yearly.log(self.office.yearly.origin())
        data = self.office.storage.entries(log.origin, 0, self.office.storage.edge(log.origin).size)
        return [Entry.decode(item) for item in data]

    def told(self, start=0):
        """What the log says, in short: act, outcome, about what, and the rule."""
        return [
            (e.act, e.outcome.value, e.subject_matter, e.policies[-1])
            for e in self.entries()[start:]
        ]

    def part(self, entry):
        place = Place(self.office.yearly.origin(), entry.sequence)
        return self.office.parts.read(place, entry.commitment)


@dataclass
class Authenticator:
    """A software authenticator of EC2 P-256 keys with attestation none (WebAuthn Level 3).

    Section 6.1 authenticator data, 6.5.1 attested credential data, 5.8.1 client data.
    """

    origin: str = ORIGIN
    party: str = "localhost"
    flags: int = 0x05  # user present, user verified
    keys: dict = field(default_factory=dict)  # by credential id: key, user handle, counter

    def create(self, options, **wrong):
        key, number = ec.generate_private_key(ec.SECP256R1()), random.Random().randbytes(16)
        self.keys[number] = [key, base64url_to_bytes(options["user"]["id"]), 0]
        public = key.public_key().public_numbers()
        cose = encode_cbor(
            {1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32), -3: public.y.to_bytes(32)}
        )
        attested = bytes(16) + len(number).to_bytes(2) + number + cose
        data = self._data(wrong.get("flags", self.flags) | 0x40, 0) + attested
        response = {
            "clientDataJSON": self._client("webauthn.create", options, wrong),
            "attestationObject": bytes_to_base64url(
                encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
            ),
        }
        return self._written(number, response)

    def get(self, options, **wrong):
        number = wrong.get("number") or next(iter(self.keys))
        item = self.keys[number]
        item[2] = wrong.get("count", item[2] + 1)
        data = self._data(wrong.get("flags", self.flags), item[2])
        client = self._client("webauthn.get", options, wrong)
        signed = data + sha256(base64url_to_bytes(client)).digest()
        signer = wrong.get("key", item[0])
        response = {
            "clientDataJSON": client,
            "authenticatorData": bytes_to_base64url(data),
            "signature": bytes_to_base64url(signer.sign(signed, ec.ECDSA(SHA256()))),
            "userHandle": bytes_to_base64url(wrong.get("handle", item[1])),
        }
        return self._written(number, response)

    def _data(self, flags, count):
        return sha256(self.party.encode()).digest() + bytes([flags]) + count.to_bytes(4)

    def _client(self, kind, options, wrong):
        value = {
            "type": wrong.get("type", kind),
            "challenge": wrong.get("challenge", options["challenge"]),
            "origin": wrong.get("origin", self.origin),
            "crossOrigin": False,
        }
        return bytes_to_base64url(json.dumps(value).encode())

    @staticmethod
    def _written(number, response):
        word = bytes_to_base64url(number)
        return json.dumps({"id": word, "rawId": word, "type": "public-key", "response": response})


@pytest.fixture
def tmp_path(tmp_path_factory):
    """A folder in memory, where there is one: each sign-in waits for the disk some five times."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path_factory.mktemp("signin")
        return
    with TemporaryDirectory(prefix="lf-signin-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def authenticator():
    return Authenticator()


@pytest.fixture(scope="session")
def new_authenticator():
    return Authenticator


@pytest.fixture(scope="session")
def agreed(agree):
    return agree({name: Ed25519PrivateKey.generate() for name in NAMES})


@pytest.fixture
def make_scene(tmp_path, agreed):
    """Open consoles of an insurer with one account for each role."""
    with ExitStack() as ending:

        def make(settings=None, people=STAFF, limits=None, demo=False, origin=ORIGIN):
            root, clock = tmp_path / "insurer", FixedClock(NOW)
            agreed.keep(root)
            staff = hired(root, people)
            office = ending.enter_context(
                open_office(root, "insurer", "insurer/audit", agreed.identities, clock=clock)
            )
            console = open_console(
                root, office, title=TITLE, origin=origin, settings=settings or SignInSettings(),
                staff=staff, limits=limits, demo=demo,
            )  # fmt: skip
            ending.enter_context(console)
            return Scene(console, staff, office, clock, root)

        yield make


@pytest.fixture
def scene(make_scene):
    return make_scene()


@pytest.fixture
def with_issuer(make_scene):
    """A console at which an issuer is configured, which nobody asks."""
    issuer = IssuerSettings("Formosa SSO", "https://issuer.invalid", "lianfang")
    return make_scene(SignInSettings(issuer=issuer))
