"""Where a process may be watched from: this machine, and a collector that nobody overhears."""

import json
import socket

import pytest
from prometheus_client import CollectorRegistry, Counter

from compliance.checkup import run_checks
from compliance.configuration import ConfigError
from compliance.operation.checks import operation_checks
from compliance.operation.scraping import MetricsServer
from compliance.operation.settings import (
    FORMAT_VARIABLE,
    OperationSettings,
    load_operation,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9446", ("127.0.0.1", 9446)), ("[::1]:9446", ("::1", 9446)),
        ("localhost:0", ("localhost", 0)),
    ],
)  # fmt: skip
def test_metrics_are_served_on_this_machine(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:9446", "10.0.0.5:9446", "[::]:9446", "hub.example:9446", "127.0.0.1", ":9446",
     "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:\u0661"],
)  # fmt: skip
def test_other_addresses_are_refused(text):
    with pytest.raises(ConfigError, match="metrics"):
        OperationSettings(metrics=text)


@pytest.mark.parametrize("url", ["https://collector.example:4318", "http://127.0.0.1:4318/prefix"])
def test_collectors_are_reached_in_secret(url):
    assert OperationSettings(otel=url).otel == url


@pytest.mark.parametrize(
    "url",
    ["http://collector.example", "ftp://127.0.0.1", "collector", "https://user@collector.example",
     "https://collector.example?x=1", "https://collector.example:port"],
)  # fmt: skip
def test_other_collectors_are_refused(url):
    with pytest.raises(ConfigError, match="otel"):
        OperationSettings(otel=url)


def test_both_fields_may_be_missing_and_must_be_text(tmp_path):
    path = tmp_path / "hub.json"
    path.write_text(json.dumps({"name": "hub"}))
    assert load_operation(path) == OperationSettings()
    path.write_text(json.dumps({"metrics": 9446}))
    with pytest.raises(ConfigError, match=r"hub\.json: metrics must be of type text"):
        load_operation(path)


def checks(path, prefix="lianfang_hub"):
    found = run_checks(operation_checks(path, prefix), (ConfigError,))
    return [item["ok"] for item in found]


def test_doctor_looks_at_port_libraries_and_form(tmp_path, monkeypatch):
    path = tmp_path / "node.json"
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    path.write_text("{}")
    assert checks(path) == [True, True, True]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path.write_text(json.dumps({"metrics": f"127.0.0.1:{taken.getsockname()[1]}"}))
        assert checks(path) == [False, True, True]
    registry = CollectorRegistry()
    Counter("lianfang_hub_requests", "Requests.", registry=registry)
    server = MetricsServer(registry, "127.0.0.1:0")
    path.write_text(json.dumps({"metrics": f"127.0.0.1:{server.start()}"}))
    assert checks(path) == [True, True, True]
    assert checks(path, "lianfang_node") == [False, True, True]
    server.stop()
    monkeypatch.setenv(FORMAT_VARIABLE, "yaml")
    assert checks(path)[2] is False
    path.write_text(json.dumps({"metrics": "0.0.0.0:9446"}))
    assert checks(path)[:2] == [False, False]
