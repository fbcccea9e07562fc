import asyncio

import pytest

from server.training.gate import Gate, GateSettings

INNER = 9001
OUTER = 9000
TOKEN = "secret-token"


async def passed_on(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"superlink"})


def status(path, port, token=None):
    sent = []

    async def send(event):
        sent.append(event)

    headers = [] if token is None else [(b"authorization", token.encode())]
    scope = {"type": "http", "path": path, "server": ("127.0.0.1", port), "headers": headers}
    asyncio.run(Gate(passed_on, inner_port=INNER, token=TOKEN)(scope, None, send))
    return sent[0]["status"]


def test_partners_reach_the_fleet_service_and_nothing_else():
    assert status("/v1/fleet/pull-messages", OUTER) == 200
    assert status("/health", OUTER) == 200
    for path in ("/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/openapi.json"):
        assert status(path, OUTER, f"Bearer {TOKEN}") == 404


@pytest.mark.parametrize("token", [None, "", "Bearer", "Bearer wrong", TOKEN, f"bearer {TOKEN}"])
def test_control_needs_the_token(token):
    assert status("/v1/control/start-run", INNER, token) == 404


def test_control_opens_to_the_token_at_the_inner_door():
    assert status("/v1/control/start-run", INNER, f"Bearer {TOKEN}") == 200


def test_runtime_is_served_at_the_inner_door_only():
    assert status("/v1/runtime/acquire-task", INNER) == 200
    assert status("/v1/fleet/pull-messages", INNER) == 404


@pytest.mark.parametrize("path", ["/v1/fleet/../control/start-run", "/v1/fleetx", "/v1/control"])
def test_paths_that_only_look_right_stay_outside(path):
    # What begins with the fleet's path is handed on as it is; the SuperLink has no such route.
    allowed = path.startswith("/v1/fleet/")
    assert (status(path, OUTER) == 200) is allowed


def test_start_and_stop_events_reach_the_superlink():
    seen = []

    async def superlink(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Gate(superlink, inner_port=INNER, token=TOKEN)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_settings_survive_the_disk(tmp_path):
    settings = GateSettings("127.0.0.1", OUTER, INNER, "ca", "cert", "key", "token", "state")
    settings.store(tmp_path / "gate.json")
    assert GateSettings.load(tmp_path / "gate.json") == settings
