"""`lianfang-hub` invite, approve, revoke and renew, as operators run them."""

import json
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from clients.keys import certificate_request, create_keys
from compliance.clock import SystemClock
from compliance.commands.output import EXIT_CONFIG, EXIT_REFUSED
from compliance.staff.passwords import Cost
from protocols.enrolment.code import InvitationCode
from protocols.enrolment.words import prove_asking, sign_join
from protocols.tlog.entry import Entry, Outcome
from protocols.tlog.note import KeyKind, Signer
from server.cli import app
from server.enrolment.invitations import Invitations
from server.enrolment.service import Enrolment
from server.home import HubHome
from server.identity.issued import Revocations
from server.log.opening import open_log
from server.log.witnesses import Listed, Witnesses
from server.output import explain

BY_TWO = ("--as", "amy", "--second", "carl")
WITNESS = Signer.from_seed("telecom/witness", KeyKind.COSIGNATURE, b"w" * 32).key
ROLES = (("amy", "approver"), ("carl", "compliance"), ("olga", "operator"))


def said(*arguments):
    """Run a command; returns its exit code, its JSON and what it said besides."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), None, str(result.exception)
    return result.exit_code, json.loads(result.stdout), result.stderr


@pytest.fixture
def hub(tmp_path, monkeypatch):
    for name in ("LIANFANG_AS", "LIANFANG_SECOND"):
        monkeypatch.delenv(name, raising=False)
    # Passwords are checked some dozens of times here; what it costs is tested elsewhere.
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", Cost(64, 1, 1))
    monkeypatch.setenv("LIANFANG_PASSWORDS", str(tmp_path))
    said("init", tmp_path / "hub", "--link-port", 0, "--fleet-port", 0, "--api-port", 0)
    named = ()
    for name, role in ROLES:
        (tmp_path / name).write_text(f"a long enough secret of {name}\n")
        (tmp_path / name).chmod(0o600)
        words = ("--display", name, "--role", role, "--reason", "set-up", *named)
        assert said("staff", "add", tmp_path / "hub", name, *words)[0] == 0
        named = BY_TWO if name == "carl" else ()
    return tmp_path / "hub"


@pytest.fixture
def request_of(tmp_path, partners):
    """Make the join request of a new node."""

    def make(name, folder=""):
        keys = create_keys(tmp_path / f"{folder or name}-node")
        public = keys.flower.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return keys, {
            "name": name,
            "tls_request": certificate_request(keys, name).decode(),
            "identity": keys.identity.public_key().public_bytes_raw().hex(),
            "flower_public": pem.decode(),
            "contract": partners[name]["contract"],
        }

    return make


def ask(hub, code, keys, request):
    """Send a join request as a node does; returns its number."""
    word = sign_join(keys.identity, code.hub, code.secret, request)
    body = {"secret": code.secret.hex(), "request": request, "signature": word.hex()}
    with open_log(HubHome(hub)) as log:
        enrolment = Enrolment(HubHome(hub), log.office, clock=SystemClock())
        return enrolment.join(json.dumps(body).encode())


def entries(hub):
    with open_log(HubHome(hub)) as log:
        origin = log.yearly.origin()
        size = log.storage.edge(origin).size
        return [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]


def invited(hub, name="telecom"):
    code, value, _ = said("invite", hub, name, "--as", "amy")
    assert code == 0
    return InvitationCode.parse(value["code"])


def test_invitation_leads_to_a_partner(hub, request_of):
    code = invited(hub)
    settings = HubHome(hub).settings()
    assert (code.api, code.hub) == (f"127.0.0.1:{settings.api_port}", "lianfang")
    keys, request = request_of("telecom")
    number = ask(hub, code, keys, request)
    status, value, shown = said("approve", hub, "telecom", *BY_TWO)
    assert status == 0
    assert value["keys"]["identity"] == request["identity"]
    for text in (request["identity"], value["keys"]["tls"], "opaque", "calls, minutes, cells"):
        assert text in shown
    assert Invitations(hub).welcome(number)["hub"] == "lianfang"
    assert [entry.act for entry in entries(hub)[-2:]] == ["join", "approve_partner"]


def test_request_is_answered_once(hub, request_of):
    keys, request = request_of("telecom")
    ask(hub, invited(hub), keys, request)
    assert said("approve", hub, "telecom", "--as", "amy")[0] == EXIT_REFUSED
    assert said("staff", "agree", hub, 1, "--as", "carl", "--yes")[0] == 0
    assert said("approve", hub, "telecom", "--as", "amy")[0] == 0
    before = len(entries(hub))
    code, _, error = said("approve", hub, "telecom", "--as", "amy")
    assert (code, "no request waits under this name" in error) == (EXIT_CONFIG, True)
    assert len(entries(hub)) == before


def test_request_is_rejected_with_a_reason_that_its_node_is_told(hub, request_of):
    keys, request = request_of("telecom")
    number = ask(hub, invited(hub), keys, request)
    code, value, _ = said("reject", hub, "telecom", "--reason", "the key differs", "--as", "amy")
    assert (code, value["rejected"], value["number"]) == (0, True, number)
    last = entries(hub)[-1]
    assert (last.act, last.outcome, last.policies) == (
        "approve_partner", Outcome.REFUSED, ("rejected",),
    )  # fmt: skip
    with open_log(HubHome(hub)) as log:
        enrolment = Enrolment(HubHome(hub), log.office, clock=SystemClock())
        proof = prove_asking(keys.identity, "lianfang", number, SystemClock().now())
        found = enrolment.standing(number, proof, "127.0.0.1")
    assert (found.state, found.welcome, found.reason) == ("rejected", None, "the key differs")
    # Nobody can take it in any more, or reject it twice; and the partner may be invited again.
    before = len(entries(hub))
    for again in (("approve", *BY_TWO), ("reject", "--reason", "no", "--as", "amy")):
        code, _, error = said(again[0], hub, "telecom", *again[1:])
        assert (code, "no request waits under this name" in error) == (EXIT_CONFIG, True)
    assert len(entries(hub)) == before
    assert HubHome(hub).partners() == {}
    ask(hub, invited(hub), keys, request)
    assert said("approve", hub, "telecom", *BY_TWO)[0] == 0


def test_only_who_may_take_in_may_reject(hub, request_of):
    keys, request = request_of("telecom")
    ask(hub, invited(hub), keys, request)
    for who in ((), ("--as", "olga"), ("--as", "carl")):
        code, _, error = said("reject", hub, "telecom", "--reason", "no", *who)
        assert (code, "only who may take partners in" in error) == (EXIT_REFUSED, True)
        assert entries(hub)[-1].outcome is Outcome.REFUSED
    for reason in (" ", "two\nlines", "a" * 501):
        code, _, error = said("reject", hub, "telecom", "--reason", reason, "--as", "amy")
        assert (code, error.startswith("--reason: ")) == (EXIT_CONFIG, True)
    assert said("approve", hub, "telecom", *BY_TWO)[0] == 0


def test_consent_for_one_request_takes_in_no_other(hub, request_of):
    keys, request = request_of("telecom")
    ask(hub, invited(hub), keys, request)
    assert said("approve", hub, "telecom", "--as", "amy")[0] == EXIT_REFUSED
    assert said("staff", "agree", hub, 1, "--as", "carl", "--yes")[0] == 0
    # Somebody else's request comes under the same name before the command is repeated; in a
    # later second, since of two invitations of one second either may count as the later one.
    time.sleep(1.1)
    other_keys, other = request_of("telecom", "other")
    ask(hub, invited(hub), other_keys, other)
    code, _, error = said("approve", hub, "telecom", "--as", "amy")
    assert (code, "request 2 waits" in error) == (EXIT_REFUSED, True)
    assert HubHome(hub).partners() == {}


def test_only_who_may_take_in_may_invite(hub):
    for who in ((), ("--as", "olga"), ("--as", "carl")):
        code, _, error = said("invite", hub, "telecom", *who)
        assert (code, "only who may take partners in" in error) == (EXIT_REFUSED, True)
    assert entries(hub)[-1].outcome is Outcome.REFUSED
    assert not (hub / "enrolment").exists()


@pytest.mark.parametrize("name", ["hub", "Bank", "a--b", "a-", "a123456789", "../x", "a" * 64])
def test_name_that_the_log_could_not_hold_is_not_invited(hub, name):
    code, _, error = said("invite", hub, name, "--as", "amy")
    assert (code, "choose another name" in error) == (EXIT_CONFIG, True)


@pytest.mark.parametrize("hours", [0, 721])
def test_code_lasts_an_hour_to_a_month(hub, hours):
    code, _, error = said("invite", hub, "telecom", "--as", "amy", "--hours", hours)
    assert (code, error.startswith("hours: ")) == (EXIT_CONFIG, True)


@pytest.fixture
def joined(hub, request_of, tmp_path):
    """A hub with one partner, by its file."""
    path = tmp_path / "telecom-request.json"
    path.write_text(json.dumps(request_of("telecom")[1]))
    code, value, shown = said("approve", hub, path, *BY_TWO)
    assert code == 0
    assert "telecom asks to be taken in" in shown
    assert value["welcome"].endswith("telecom-welcome.json")
    return hub


def test_partner_is_revoked_by_two_people_with_a_reason_or_not_at_all(joined):
    revoke = ("revoke", joined, "telecom")
    for words, policy in (
        (("--reason", "key lost"), "error.request"),
        (("--reason", "key lost", "--as", "olga", "--second", "amy"), "default-deny"),
        (("--reason", "key lost", "--as", "amy"), "four-eyes"),
        (BY_TWO, "say-why"),
    ):
        assert said(*revoke, *words)[0] == EXIT_REFUSED
        assert (entries(joined)[-1].act, entries(joined)[-1].policies) == (
            "remove_partner", (policy,),
        )  # fmt: skip
    assert not Revocations(joined).bars("telecom", 1)
    code, value, _ = said(*revoke, "--reason", "key lost", *BY_TWO)
    assert (code, value["revoked"]) == (0, True)
    entry = entries(joined)[-1]
    assert (entry.act, entry.outcome, entry.recipients) == (
        "remove_partner", Outcome.DONE, ("telecom",),
    )  # fmt: skip
    assert Revocations(joined).bars("telecom", 1)


def test_revoked_witness_is_told_with_what_to_do(joined):
    listed = Listed("telecom", (WITNESS,))
    Witnesses(1, (listed,)).store(joined / "log" / "witnesses.json")
    words = ("--reason", "key lost", *BY_TWO)
    shown = CliRunner().invoke(app, ["revoke", str(joined), "telecom", *words]).stdout
    assert "1 of 1 must cosign, 0 can. Nothing is published" in shown
    assert f"lianfang-hub log witness remove {joined} telecom --reason" in shown.splitlines()[-1]


def test_revoked_name_is_neither_revoked_nor_invited_nor_taken_in_again(joined, request_of):
    said("revoke", joined, "telecom", "--reason", "key lost", *BY_TWO)
    before = len(entries(joined))
    for words, says in (
        (("revoke", joined, "telecom", "--reason", "again", *BY_TWO), "was revoked"),
        (("invite", joined, "telecom", "--as", "amy"), "its name stays taken"),
    ):
        code, _, error = said(*words)
        assert (code, says in error) == (EXIT_CONFIG, True)
    keys, request = request_of("telecom", "anew")
    secret = bytes(16)
    Invitations(joined).make("telecom", secret, now=SystemClock().now(), lasts_s=60)
    code = InvitationCode("127.0.0.1:1", "lianfang", bytes(32), secret)
    ask(joined, code, keys, request)
    status, _, error = said("approve", joined, "telecom", *BY_TWO)
    assert (status, "its name stays taken" in error) == (EXIT_CONFIG, True)
    assert len(entries(joined)) == before + 1  # that it asked


def test_hub_renews_its_own_certificates_without_a_restart(hub):
    before = (hub / "authority" / "server.pem").read_bytes()
    code, value, _ = said("renew", hub)
    assert (code, value["restart"]) == (0, False)
    assert (hub / "authority" / "server.pem").read_bytes() != before
