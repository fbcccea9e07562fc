"""Hub and node of neighbouring versions talk; others say why not, alike at both ends.

Over real TLS, gRPC and HTTPS. A hub of another version is one that offers another one.
"""

import json
import logging
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from clients.holder.stream import StandingLink
from clients.keys import certificate_request, create_keys, credentials, store_certificate
from clients.lookup.https import Https
from clients.node.answering import answer
from clients.node.phases.acceptance import _plan_of
from clients.transport import Link, explain_status, open_channel
from clients.versions import check_hub
from compliance.exits import Exit, exit_of
from protocols.errors import MalformedMessageError
from protocols.link import (
    ATTACH_METHOD,
    HELLO_METADATA_KEY,
    PARTY_METADATA_KEY,
    SERVICE,
    Envelope,
    Kind,
    TransportError,
)
from protocols.phase import PhaseRequest, Status
from protocols.standing import STAND_METHOD, Greeting, decode_frame
from protocols.versions import HEADER, OLDEST, WIRE, IncompatibleVersionError, offer
from server.api.app import create_app
from server.api.running import ApiServer
from server.identity import create_authority, issue_node, issue_server
from server.link import Relay, Service
from server.link.service import OPTIONS
from server.standing import Standing
from server.training.conduct import _check_version

HUB = "hub.example"
NEIGHBOUR = f"{WIRE}-{WIRE + 1}"
TWO_APART = f"{WIRE + 1}-{WIRE + 2}"
OURS = offer()
BEHIND = f"the hub speaks versions {WIRE + 1} to {WIRE + 2} of the wire, the node speaks versions "
AHEAD = f"the hub speaks versions {OLDEST} to {WIRE} of the wire, the node speaks versions "


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A hub's authority and two nodes that joined."""
    directory, now = tmp_path_factory.mktemp("versions"), int(time.time())
    authority = create_authority(directory / "hub", HUB, now)
    issue_server(authority, directory / "hub", ["127.0.0.1"], now)
    for name in ("insurer", "telecom"):
        keys = create_keys(directory / name)
        certificate = issue_node(authority, certificate_request(keys, name), name, now)
        root = (directory / "hub" / "ca.crt").read_bytes()
        store_certificate(directory / name, certificate, root)
    return directory


def files(site):
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    return {name: site / "hub" / file for name, file in names.items()}


@pytest.fixture
def serve(site):
    """Serve a hub's link that offers some version; returns its address."""
    services = []

    def serving(wire=None):
        relay = Relay()
        relay.open_run("run-1", ("insurer", "telecom"))
        more = {} if wire is None else {"wire": wire}
        service = Service(relay, hub=HUB, on_control=dict, standing=Standing(), **more)
        services.append(service)
        return f"127.0.0.1:{service.start('127.0.0.1:0', **files(site))}"

    yield serving
    for service in services:
        service.stop(grace_s=0.1)


def called(site, address, method, *metadata):
    """Open a stream that says `metadata`; returns its first frame and what the hub says."""
    channel = open_channel(address, credentials(site / "insurer"))
    hello = Envelope("run-1", "train.1", Kind.HELLO).encode()
    with channel:
        call = channel.stream_stream(method)(
            waiting(),
            metadata=(*metadata, (HELLO_METADATA_KEY, hello)),
            timeout=20,
        )
        return next(call), dict(call.initial_metadata()).get(HEADER)


def waiting():
    time.sleep(0.5)
    yield from ()


@pytest.mark.parametrize("method", [ATTACH_METHOD, STAND_METHOD])
@pytest.mark.parametrize("theirs", [(), ((HEADER, offer()),), ((HEADER, NEIGHBOUR),)])
def test_node_of_a_neighbouring_version_is_let_in(site, serve, method, theirs):
    frame, told = called(site, serve(), method, *theirs)
    assert told == offer()
    if method == STAND_METHOD:
        assert decode_frame(frame) == Greeting("insurer")
    else:
        assert Envelope.decode(frame).kind is Kind.WELCOME


@pytest.mark.parametrize("method", [ATTACH_METHOD, STAND_METHOD])
def test_node_that_is_too_new_is_refused_and_told_which_side_is_old(site, serve, method, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(grpc.RpcError) as caught:
        called(site, serve(), method, (HEADER, TWO_APART))
    said, again = explain_status(caught.value, "there")
    assert said.startswith("the hub refused: version: ")
    assert f"{AHEAD}{WIRE + 1} to {WIRE + 2}; update the hub" in said
    assert not again
    assert dict(caught.value.trailing_metadata())[HEADER] == offer()
    # The hub's operator reads the same words, and whose node it is.
    assert "insurer is refused: version: " in caplog.text
    assert "update the hub" in caplog.text


@pytest.mark.parametrize("said", ["two", "2-1", "1-2, 1-2"])
def test_node_whose_version_is_none_is_refused(site, serve, said):
    with pytest.raises(grpc.RpcError) as caught:
        called(site, serve(), STAND_METHOD, (HEADER, said))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_node_says_that_itself_is_too_old(site, serve):
    address = serve(TWO_APART)
    with pytest.raises(TransportError, match=f"{BEHIND}{OLDEST} to {WIRE}; update the node") as one:
        Link(address, credentials(site / "insurer"), "run-1", "train", 10)
    assert not one.value.retryable
    with pytest.raises(TransportError, match="update the node") as other:
        stand(site, address)
    assert not other.value.retryable


def stand(site, address):
    with ThreadPoolExecutor(1) as pool:
        StandingLink(
            address, credentials(site / "insurer"), name="insurer",
            answer=lambda _, __: b"", pool=pool, on_greeted=lambda: None,
        ).serve()  # fmt: skip


@pytest.fixture
def careless(site):
    """A hub's link that asks nobody for a version, and says one that no node here speaks."""

    def told(first, context):
        context.send_initial_metadata(((HEADER, TWO_APART), (PARTY_METADATA_KEY, "")))
        yield first
        time.sleep(2)

    frames = {
        "Stand": Greeting("insurer").encode(),
        "Attach": Envelope(
            "run-1", "train.1", Kind.WELCOME, "insurer", b"insurer,telecom"
        ).encode(),
    }
    handlers = {
        name: grpc.stream_stream_rpc_method_handler(lambda _, context, f=frame: told(f, context))
        for name, frame in frames.items()
    }
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        paths = files(site)
        pair = [(paths["key"].read_bytes(), paths["certificate"].read_bytes())]
        secured = grpc.ssl_server_credentials(pair, paths["authority"].read_bytes(), True)
        port = server.add_secure_port("127.0.0.1:0", secured)
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(0)


def test_node_leaves_a_hub_that_is_too_new_and_does_not_ask(site, careless):
    with pytest.raises(TransportError, match="update the node") as caught:
        Link(careless, credentials(site / "insurer"), "run-1", "train", 10)
    assert not caught.value.retryable
    with pytest.raises(IncompatibleVersionError, match="update the node"):
        stand(site, careless)


@pytest.fixture
def api(site):
    """Serve an API that offers some version; returns its address."""
    servers = []

    def serving(wire=OURS):
        app = create_app(None, wire=wire)
        app.state.parts = None
        server = ApiServer(app, hub=HUB)
        servers.append(server)
        return f"127.0.0.1:{server.start('127.0.0.1', 0, **files(site))}"

    yield serving
    for server in servers:
        server.stop()


def get(site, address, path, headers):
    context = ssl.create_default_context(cafile=str(site / "hub" / "ca.crt"))
    with httpx.Client(verify=context, trust_env=False, timeout=20) as client:
        return client.get(f"https://{address}{path}", headers=headers)


@pytest.mark.parametrize("theirs", [None, offer(), NEIGHBOUR])
def test_api_answers_neighbours_and_says_its_version(site, api, theirs):
    found = get(site, api(), "/v1/nothing", {} if theirs is None else {HEADER: theirs})
    assert (found.status_code, found.json()["code"]) == (404, "not_found")
    assert found.headers[HEADER] == offer()


def test_api_refuses_others_with_a_problem_of_its_own(site, api):
    found = get(site, api(), "/v1/nothing", {HEADER: TWO_APART})
    assert found.headers["content-type"] == "application/problem+json"
    assert (found.status_code, found.json()["code"]) == (409, "wire_version")
    assert f"{AHEAD}{WIRE + 1} to {WIRE + 2}; update the hub" in found.json()["detail"]
    assert found.headers[HEADER] == offer()


def test_silent_caller_is_too_old_once_version_one_is_gone(site, api):
    address = api("3-4")
    found = get(site, address, "/v1/nothing", {})
    assert found.json()["code"] == "wire_version"
    assert "the node speaks version 1; update the node" in found.json()["detail"]
    # Whoever looks after the hub's health speaks no version at all.
    assert get(site, address, "/healthz", {}).json().get("code") != "wire_version"


@pytest.mark.parametrize("said", ["x", "2-1", "1-2, 1-2"])
def test_version_that_is_none_is_malformed(site, api, said):
    found = get(site, api(), "/v1/nothing", {HEADER: said})
    assert (found.status_code, found.json()["code"]) == (400, "malformed_message")


def test_nodes_program_names_the_side_to_update(site, api):
    https = Https(api(TWO_APART), credentials(site / "insurer"), 10, pauses_s=())
    try:
        with pytest.raises(IncompatibleVersionError, match="update the node") as caught:
            https.fetch("/v1/epochs/current")
    finally:
        https.close()
    assert exit_of(caught.value) is Exit.CONFIG


def test_nodes_program_reads_the_version_of_an_answer():
    for silent in (None, "", offer(), NEIGHBOUR):
        check_hub(silent)
    with pytest.raises(IncompatibleVersionError, match="update the node"):
        check_hub(TWO_APART)
    with pytest.raises(MalformedMessageError):
        check_hub("new")


def test_plan_of_a_hub_that_is_too_new_is_refused_before_it_is_read():
    body = json.dumps({"plan": "of another form", "wire": TWO_APART})
    reply = answer(PhaseRequest("spring", "plan", 1, 60, body), _plan_of)
    assert (reply.status, reply.code) == (Status.REFUSED, "wire_version")
    assert "update the node" in reply.reason


def test_partner_that_is_too_new_ends_a_run_by_name():
    _check_version("telecom", {"announcement": ""})
    _check_version("telecom", {"announcement": "", "wire": NEIGHBOUR})
    with pytest.raises(IncompatibleVersionError, match=r"reply of telecom: .*update the hub"):
        _check_version("telecom", {"wire": TWO_APART})
