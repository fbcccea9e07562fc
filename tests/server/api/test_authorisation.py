"""Every operation of the API, called rightly by every kind of caller: who is answered, and how.

`authorisation.csv` has a line for each operation and a column for each caller; an operation
without a line fails here. Every request would be a good one from the caller that may make it:
each signs with its own key, about the same table, agreement and invitation. So an answer tells
what the caller may do, and not how the request was written. Each cell is a status, with the code
of the problem where there is one, or `tls` where the connection itself is refused.

The columns that begin with `token` are an insurer that shows an access token beside its
certificate: one for the right scope, and each kind of wrong one.
"""

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients.keys import certificate_request, create_keys
from compliance.agreement.bundle import Bundle
from compliance.agreement.profile import shipped_bytes
from compliance.agreement.signing import sign_agreement
from compliance.agreement.vocabulary import Title
from protocols.enrolment.words import prove_asking, sign_join, sign_renewal
from server.api.document import openapi_document
from server.enrolment.invitations import Invitations
from server.identity import create_authority
from server.identity.authority import issue_control
from server.identity.issued import Issued
from server.identity.peer import serial_number
from server.tokens.routes import FORM
from server.tokens.scopes import ANY, LOOKUP, NEVER, OF_OPERATION, SCOPES, scope_of
from server.tokens.tokens import LIFETIME_S

TABLE = Path(__file__).with_name("authorisation.csv")
PARTNERS = ("insurer", "telecom", "police", "outsider", "hub")
# Of an insurer that is none of ours: no certificate, another authority's, one run out, revoked.
OTHERS = ("none", "foreign", "expired", "revoked")
# Its token: right; for another scope; altered; run out; of the revoked; of a certificate that was
# renewed; made for another's certificate (stolen); shown without any certificate.
TOKENS = ("right", "other", "wrong", "ended", "barred", "renewed", "stolen", "bare")
CALLERS = (*OTHERS, *PARTNERS, *(f"token {kind}" for kind in TOKENS))
HUB, SECRET = "lianfang", bytes(range(16))
JSON, KIND = "application/json", "application/vnd.lianfang."
CONTRACT = {
    "identifier": {"column": "id", "kind": "opaque"},
    "label": None,
    "columns": [{"name": "calls", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
}


def expected():
    with TABLE.open(newline="") as file:
        return {row.pop("operation"): row for row in csv.DictReader(file)}


@cache
def operations():
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in json.loads(openapi_document())["paths"].items()
        for method, operation in methods.items()
    }


class Scene:
    """One hub as one caller finds it, and the good requests that it makes there."""

    def __init__(self, world, make_agreed, directory, caller):
        self.world, self.caller = world, caller
        self.name = caller if caller in PARTNERS else "insurer"
        contact = "mailto:security@hub.example"
        world.served.app.state.parts = replace(world.parts, contact=contact)
        self.credentials = self._credentials(directory)
        for name in ("police", "telecom"):
            world.publish(world.delta(world.records(3), name=name), name=name)
        world.parts.log.yearly.checkpoint()
        published = world.entries()
        self.tile = f"0/000.p/{len(published)}"
        self.document = next(entry.document for entry in published if entry.document).hex()
        title = Title("Next", "續")
        self.draft = make_agreed(former=world.agreed.agreement, signed_by=[], title=title)
        self.offered = self._bundle(self.draft)
        world.parts.agreements.take("police", self.offered)
        self.keys = create_keys(directory / "bank")
        self.joining = self._joining()

    def token(self, operation):
        """The head that a caller adds for an operation, if it shows a token at all."""
        kind = self.caller.removeprefix("token ")
        if kind == self.caller:
            return {}
        needed = scope_of(operation)
        scope = needed if needed in SCOPES else LOOKUP
        if kind == "other":
            scope = next(name for name in SCOPES if name != needed)
        name = "telecom" if kind == "stolen" else "insurer"
        clock, tokens = self.world.clock, self.world.parts.tokens
        clock.advance(-LIFETIME_S if kind == "ended" else 0)
        given = tokens.give(name, thumbprint(self.world.shop.credentials[name]), scope).token
        clock.advance(LIFETIME_S if kind == "ended" else 0)
        if kind == "wrong":
            head, body, signature = given.split(".")
            given = f"{head}.{body}.{signature[::-1]}"
        return {"Authorization": f"Bearer {given}"}

    def _credentials(self, directory):
        world = self.world
        if self.caller in {"none", "token bare"}:
            return None
        if self.caller == "token barred":
            world.home.revoke("insurer", world.clock.now())
        if self.caller == "token renewed":
            supersede(world)
        if self.caller == "foreign":
            authority = create_authority(directory / "foreign", HUB, world.clock.now())
            return world.shop.issue("insurer", authority=authority)
        if self.caller == "expired":
            return world.shop.issue("insurer", now=world.clock.now() - 398 * 86_400)
        if self.caller == "revoked":
            world.home.revoke("insurer", world.clock.now())
        if self.caller == "hub":
            issue_control(world.shop.authority, directory, world.clock.now())
            return directory / "hub.pem", directory / "hub.key"
        return world.shop.credentials[self.name]

    def _bundle(self, agreed):
        return Bundle(agreed.signed, profile=shipped_bytes("tw"))

    def _joining(self):
        invitations = Invitations(self.world.home.root)
        made = invitations.make("bank", SECRET, now=self.world.clock.now(), lasts_s=3600)
        public = self.keys.flower.public_key()
        request = {
            "name": "bank",
            "tls_request": certificate_request(self.keys, "bank").decode(),
            "identity": self.keys.identity.public_key().public_bytes_raw().hex(),
            "flower_public": public.public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ).decode(),
            "contract": CONTRACT,
        }
        self.number = made.number
        return request

    def values(self):
        """What stands in paths: the same for every caller, but for its own signature."""
        digest = self.draft.agreement.digest.hex()
        return {
            "epoch": 5, "contributor": "police", "version": 1, "index": 0, "year": self.year,
            "path": self.tile, "digest": digest, "party": self.name, "number": self.number,
            "document": self.document,
        }  # fmt: skip

    @property
    def year(self):
        return int(self.world.parts.log.yearly.origin().rpartition("/")[2])

    def send(self, client, operation, method, path):
        kind, body, headers = self.body(operation)
        headers = headers | self.token(operation)
        if kind:
            headers = {"Content-Type": kind, **headers}
        query = {"since": 0} if operation == "tableDelta" else None
        return client.request(
            method, path.format(**self.values()), content=body, headers=headers, params=query
        )

    def body(self, operation):
        """Return media type, body and headers of a good request of this caller."""
        made = {
            "evaluate": self._evaluation,
            "publish": lambda: (f"{KIND}table-delta", self._delta(), {}),
            "acknowledge": lambda: (f"{KIND}table-acknowledgement", self._applied(), {}),
            "offerAgreement": lambda: (JSON, self.offered.encode(), {}),
            "signAgreement": lambda: (JSON, self._signature(), {}),
            "revokeAgreement": lambda: (JSON, self._revocation(), {}),
            "join": lambda: (JSON, self._join(), {}),
            "welcome": lambda: ("", None, {"Lianfang-Proof": self._proof()}),
            "renew": lambda: (JSON, self._renewal(), {}),
            "token": lambda: (FORM, b"grant_type=client_credentials&scope=lookup", {}),
        }
        return made[operation]() if operation in made else ("", None, {})

    def _evaluation(self):
        request = self.world.sign(self.world.query((b"x",)).request, asker=self.name)
        key = {"Idempotency-Key": request.request_id.hex()}
        return f"{KIND}evaluation-request", request.encode(), key

    def _delta(self):
        return self.world.delta(self.world.records(2)).encode()

    def _applied(self):
        return self.world.applied("police", reader=self.name).encode()

    def _revocation(self):
        # An outsider has no word of its own, and hands in one that it has got hold of.
        party = "police" if self.name == "outsider" else self.name
        return self.draft.revocation(party, now=self.world.clock.now()).encode()

    def _join(self):
        word = sign_join(self.keys.identity, HUB, SECRET, self.joining)
        value = {"secret": SECRET.hex(), "request": self.joining, "signature": word.hex()}
        return json.dumps(value).encode()

    def _proof(self):
        return prove_asking(self.keys.identity, HUB, self.number, self.world.clock.now())

    def _signature(self):
        # No party signs for an outsider.
        signature = bytes(64)
        if self.name != "outsider":
            key = self.world.identities[self.name]
            signature = sign_agreement(key, self.draft.agreement, self.name)
        return json.dumps({"signature": signature.hex()}).encode()

    def _renewal(self):
        pem = self.credentials[0].read_bytes() if self.credentials else None
        request = certificate_request(self.keys, self.name)
        signature = sign_renewal(
            self.world.identities[self.name], HUB, self.name,
            serial=1 if pem is None else serial_number(pem), request=request,
        )  # fmt: skip
        value = {"tls_request": request.decode(), "signature": signature.hex()}
        return json.dumps(value).encode()


def thumbprint(credentials):
    return x509.load_pem_x509_certificate(credentials[0].read_bytes()).fingerprint(SHA256())


def supersede(world):
    """The insurer's certificate has a successor, which it has shown."""
    old = world.shop.credentials["insurer"][0].read_bytes()
    new = world.shop.issue("insurer")[0].read_bytes()
    for at, pem in enumerate((old, new)):
        Issued(world.home.root).add("insurer", pem, at)
    assert not world.parts.enrolment.has_ended("insurer", serial_number(new))


def told(scene, operation, method, path):
    client = scene.world.client(credentials=scene.credentials)
    try:
        answer = scene.send(client, operation, method, path)
    except (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError):
        return "tls"
    if answer.status_code < 400:
        return str(answer.status_code)
    assert answer.headers["content-type"] == "application/problem+json"
    return f"{answer.status_code} {answer.json()['code']}"


def order(operation):
    """What others need comes before what changes it: joining before its welcome, the end last."""
    return {"welcome": 1, "renew": 2, "revokeAgreement": 3}.get(operation, 0)


def test_every_operation_has_its_line():
    assert set(expected()) == set(operations())
    assert all(set(row) == set(CALLERS) for row in expected().values())


@pytest.mark.parametrize("caller", CALLERS)
def test_callers_are_answered_as_the_table_says(world, make_agreed, tmp_path, caller):
    scene = Scene(world, make_agreed, tmp_path, caller)
    found = {
        operation: told(scene, operation, *operations()[operation])
        for operation in sorted(operations(), key=order)
    }
    assert found == {operation: row[caller] for operation, row in expected().items()}


def test_the_table_opens_nothing_that_should_be_closed():
    """What the table itself must keep, whoever edits it."""
    open_to_all = {
        "health", "ready", "securityContact", "authority", "join", "welcome", "tokenKeys",
        "tokenMetadata",
    }  # fmt: skip
    for operation, row in expected().items():
        assert row["foreign"] == row["expired"] == "tls"
        assert row["revoked"] == "403 partner_revoked"
        assert (row["none"] != "403 certificate_required") == (operation in open_to_all)


def test_a_token_narrows_and_opens_nothing():
    assert set(OF_OPERATION) == set(operations())
    for operation, row in expected().items():
        scope = scope_of(operation)
        if scope == NEVER:
            assert row["token right"] == row["token other"] == "403 insufficient_scope"
        else:
            assert row["token right"] == row["insurer"]
            refused = row["token other"] == "403 insufficient_scope"
            assert refused == (scope != ANY), operation
        for kind in ("wrong", "ended", "renewed", "stolen", "bare"):
            assert row[f"token {kind}"] == "401 invalid_token"
        assert row["token barred"] == "403 partner_revoked"
