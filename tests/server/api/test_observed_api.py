"""A hub's API under observation: what is counted, what is told, and nothing of a request in it."""

import http.client
import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from compliance.operation.observing import Append, Evaluation, together
from compliance.operation.settings import OperationSettings
from compliance.operation.tracing import Tracing
from protocols.lookup.request import Purpose
from server.api.app import create_app
from server.api.running import ApiServer
from server.log.outcomes import Standing, WitnessState
from server.log.publication import PublicationState
from server.lookup.asking import Asking
from server.operation.asking import observed_holders
from server.operation.requests import Roles, observed
from server.operation.state import HubState
from server.operation.watch import watch_hub

HUB = "lianfang"
EPOCH = 5
NOW = 1_800_000_000
PAGE = Path(__file__).resolve().parents[3] / "docs" / "operation" / "README.md"


class Watched:
    """A world whose hub is watched, and what its metrics say."""

    def __init__(self, world, observer, watch, exporter):
        self.world, self.observer, self.watch, self.exporter = world, observer, watch, exporter
        self.runs = world.directory / "runs"
        self.port = watch.serve(self.state().sources())

    def state(self):
        world = self.world
        return HubState(
            root=world.directory, authority=world.shop.directory, clock=world.clock,
            epochs=world.parts.epochs, book=world.books["hub"], tables=world.parts.tables,
            log=world.parts.log, connected=world.others.connected,
            partners=lambda: ("insurer", "police", "telecom"),
        )  # fmt: skip

    def text(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        found = answer.read().decode()
        connection.close()
        return found

    def metrics(self):
        """All values by name and the values of labels, in the order of the labels' names."""
        # An answer is with its client a moment before it is counted.
        while "\nlianfang_hub_requests_under_way 0.0\n" not in (text := self.text()):
            time.sleep(0.005)
        return {
            (
                sample.name.removeprefix("lianfang_hub_"),
                *dict(sorted(sample.labels.items())).values(),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def put_under(world, observer, monkeypatch):
    """Put an observer around everything that takes one."""
    app = create_app(None)
    app.state.parts = world.parts
    server = ApiServer(observed(app, observer, Roles(world.parts.log.office)), hub=HUB)
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    paths = {name: world.shop.directory / file for name, file in names.items()}
    port = server.start("127.0.0.1", 0, **paths)
    world.served = replace(world.served, server=server, app=app, port=port, clients={})
    evaluations, yearly = world.parts.evaluations, world.parts.log.yearly
    answer, append = evaluations.answer, yearly.append

    def evaluate(caller, request):
        with observer.during(Evaluation(request.purpose.value, request.count)):
            return answer(caller, request)

    def enter(*arguments):
        with observer.during(Append()):
            return append(*arguments)

    monkeypatch.setattr(evaluations, "answer", evaluate)
    monkeypatch.setattr(yearly, "append", enter)
    asking = Asking(observed_holders(world.others, observer))
    monkeypatch.setattr(evaluations, "_asking", asking)
    return asking


@pytest.fixture
def watched(world, monkeypatch):
    exporter = InMemorySpanExporter()
    with (
        watch_hub(HUB, OperationSettings(metrics="127.0.0.1:0")) as watch,
        Tracing("lianfang-hub", HUB, "", exporter=exporter) as tracing,
    ):
        asking = put_under(world, together([tracing, watch.observer]), monkeypatch)
        yield Watched(world, tracing, watch, exporter)
        asking.close()
        world.served.close()


def lookup(world, *, inputs=(b"A123456789",), **changes):
    return world.post(world.sign(world.query(inputs).request, **changes))


def test_work_is_counted_by_operation_role_and_outcome(watched):
    world = watched.world
    assert lookup(world, inputs=(b"a", b"b")).status_code == 200
    assert lookup(world, inputs=[b"%d" % n for n in range(99)]).status_code == 429
    assert world.client("insurer").get("/v1/epochs/current").status_code == 200
    assert world.client("outsider").get("/v1/quota").status_code == 403
    assert world.client("insurer").get("/v1/nothing/A123456789").status_code == 404
    assert world.client().get("/healthz").status_code == 200
    found = watched.metrics()
    assert {key[1:]: value for key, value in found.items() if key[0] == "requests_total"} == {
        ("evaluate", "insurer", "2xx"): 1, ("evaluate", "insurer", "4xx"): 1,
        ("currentManifest", "insurer", "2xx"): 1, ("quota", "none", "4xx"): 1,
        ("none", "insurer", "4xx"): 1, ("health", "none", "2xx"): 1,
    }  # fmt: skip
    assert found["evaluations_total", "done", "counter"] == 1
    assert found["evaluations_total", "quota_exhausted", "counter"] == 1
    assert found["evaluated_elements_total", "done", "counter"] == 2
    assert found["evaluated_elements_total", "quota_exhausted", "counter"] == 99
    assert found["request_seconds_count", "evaluate"] == 2
    assert found["request_seconds_bucket", "+Inf", "evaluate"] == 2
    assert found["log_append_seconds_count",] == 2
    assert found["requests_under_way",] == 0
    assert sum(value for key, value in found.items() if key[0] == "ask_seconds_count") == 1


def test_holders_that_fail_are_named(watched):
    world = watched.world
    world.others.silent = {"police", "telecom"}
    assert lookup(world).status_code == 503
    world.others.silent = set()
    world.others.holders.pop("police")
    found = watched.metrics()
    failures = {key[1:]: value for key, value in found.items() if key[0] == "ask_failures_total"}
    assert failures == {
        ("transport_error", "police", "evaluate"): 1, ("transport_error", "telecom", "evaluate"): 1,
    }  # fmt: skip
    assert found["stream_connected", "police"] == 0
    assert found["stream_connected", "telecom"] == 1


def test_the_hubs_state_is_told(watched):
    world = watched.world
    world.publish(world.delta(world.records(7)))
    lookup(world, inputs=(b"a", b"b", b"c"))
    for name, state in {"spring": "done", "summer": "running", "autumn": None}.items():
        (watched.runs / name).mkdir(parents=True)
        if state is not None:
            (watched.runs / name / "state.json").write_text(json.dumps({"state": state}))
    world.clock.advance(600)
    found = watched.metrics()
    expected = {
        ("epoch",): EPOCH, ("epoch_left_seconds",): 86_400 - 600,
        ("quota_elements", "insurer"): 100, ("quota_used_elements", "insurer"): 3,
        ("table_version", "police"): 1, ("table_records", "police"): 7,
        ("table_age_seconds", "police"): 600, ("runs", "done"): 1, ("runs", "running"): 1,
        ("runs", "proposed"): 1, ("runs", "failed"): 0, ("log_quorum",): 0,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert found["log_entries",] == len(world.entries())
    assert found["log_published_entries",] == 0
    world.parts.log.yearly.checkpoint()
    time.sleep(1.1)
    assert watched.metrics()["log_published_entries",] == found["log_entries",]
    assert found["disk_free_bytes",] > 0
    assert found["certificate_left_seconds", "server"] > 0
    assert {
        key[1]: value for key, value in found.items() if key[0] == "source_up"
    } == dict.fromkeys(("epoch", "tables", "log", "streams", "runs", "disk", "certificates"), 1)


def test_the_rest_is_told_where_a_part_is_down(watched, break_log):
    break_log(watched.world)
    (watched.runs / "spring").mkdir(parents=True)
    (watched.runs / "spring" / "state.json").write_text("{")
    assert lookup(watched.world).status_code == 503
    manifest = watched.world.directory / "hub" / "epochs" / "manifests" / f"{EPOCH}.json"
    manifest.write_text("{")
    found = watched.metrics()
    assert (found["source_up", "epoch"], found["source_up", "tables"]) == (0, 0)
    assert found["source_up", "log"] == 1
    assert ("epoch",) not in found
    assert found["runs", "unreadable"] == 1
    assert found["evaluations_total", "storage_failed", "counter"] == 1


def test_the_page_describes_every_metric_and_no_other(watched):
    state = PublicationState(published_at=NOW, witnesses=(WitnessState("police", at=NOW),))
    described = set(re.findall(r"^\| `(lianfang_hub_[a-z_]+)`", PAGE.read_text(), re.MULTILINE))
    told = set(re.findall(r"^# TYPE (lianfang_hub_[a-z_]+)", watched.text(), re.MULTILINE))
    assert told | {item.name for item in watched.state()._publication(state)} == described


def test_the_log_not_published_is_told(watched):
    behind = PublicationState(
        published_at=NOW - 7200, unwitnessed_since=NOW - 3601, alarms=1,
        witnesses=(
            WitnessState("police", Standing.COSIGNED, 7, NOW - 60),
            WitnessState("telecom", Standing.AWAY, 0, 0, "A123456789"),
        ),
    )  # fmt: skip
    watched.world.clock.seconds = NOW
    found = {
        (item.name.removeprefix("lianfang_hub_"), *sample.labels.values()): sample.value
        for item in watched.state()._publication(behind)
        for sample in item.samples
    }
    assert found == {
        ("log_checkpoint_age_seconds",): 7200, ("log_unpublished_seconds",): 3601,
        ("log_corrupt",): 0, ("log_alarms",): 1, ("witness_cosigned", "police"): 1,
        ("witness_cosigned", "telecom"): 0, ("witness_age_seconds", "police"): 60,
    }  # fmt: skip


def test_no_epoch_is_told_as_none(watched):
    watched.world.clock.advance(7 * 86_400)
    found = watched.metrics()
    assert (found["epoch",], found["epoch_left_seconds",]) == (0, 0)


def test_nothing_of_a_request_is_in_metrics_or_spans(watched):
    world = watched.world
    query = world.query((b"A123456789", b"0912345678"))
    signed = world.sign(query.request)
    world.post(signed)
    world.post(replace(signed, signature=bytes(64)))
    world.client("insurer").get("/v1/epochs/912345678?phone=0912345678&id=A123456789")
    world.client("insurer").get("/A123456789", headers={"X-Customer": "A123456789"})
    world.client("insurer").request("A123456789", "/healthz")
    time.sleep(0.05)
    assert watched.observer.flush()
    spans = watched.exporter.get_finished_spans()
    told = watched.text() + "".join(span.to_json() for span in spans)
    for secret in ("A123456789", "912345678", signed.request_id.hex(), signed.case.hex(),
                   signed.digest.hex(), "127.0.0.1"):  # fmt: skip
        assert secret not in told
    names = {span.name for span in spans}
    assert {"evaluate", "evaluation", "ask", "log append", "manifest", "none"} <= names


def rate(world, threads, each):
    """Lookups a second by this many desks at a time, and their latencies."""
    requests = [
        [world.sign(world.query((b"%d-%d" % (t, n),)).request, purpose=Purpose.SCREENING)
         for n in range(each)]
        for t in range(threads)
    ]  # fmt: skip
    took = []
    client = world.client("insurer")

    def work(mine):
        for request in mine:
            began = time.perf_counter()
            answer = client.post(
                "/v1/evaluations", content=request.encode(),
                headers={"Content-Type": "application/vnd.lianfang.evaluation-request",
                         "Idempotency-Key": request.request_id.hex()},
            )  # fmt: skip
            took.append(time.perf_counter() - began)
            assert answer.status_code == 200

    workers = [threading.Thread(target=work, args=(mine,)) for mine in requests]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took.sort()
    seconds = time.perf_counter() - began
    return threads * each / seconds, took[len(took) // 2], took[int(0.99 * len(took))]


@pytest.mark.slow
def test_scraping_under_load_does_not_slow_the_api(make_world, monkeypatch):
    """Read four times a second, and not four times a minute, it keeps the median within a third."""
    world = make_world(quota=10**6)
    with watch_hub(HUB, OperationSettings(metrics="127.0.0.1:0")) as watch:
        put_under(world, watch.observer, monkeypatch)
        watched = Watched(world, watch.observer, watch, None)
        stop, scrapes = threading.Event(), []

        def scrape():
            while not stop.wait(0.25):
                began = time.perf_counter()
                watched.text()
                scrapes.append(time.perf_counter() - began)

        rate(world, 4, 20)
        quiet, scraped = [], []
        for _ in range(4):
            quiet.append(rate(world, 4, 60))
            stop.clear()
            reader = threading.Thread(target=scrape)
            reader.start()
            scraped.append(rate(world, 4, 60))
            stop.set()
            reader.join()
        world.served.close()
    best = [min(item[1] for item in found) for found in (quiet, scraped)]
    assert scrapes
    assert best[1] < 1.33 * best[0]
