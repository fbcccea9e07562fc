"""The hub's processes: relay, programs, key share and API in this one, the SuperLink beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance.atrest.secrets import read_secret
from compliance.backup.settled import check_settled
from compliance.configuration import ConfigError
from compliance.operation.settings import OperationSettings
from server.epochs.holding import open_holding
from server.epochs.service import ACTIONS, Epochs
from server.home import HubHome
from server.identity.admission import Admission
from server.identity.issued import Revocations
from server.link.relay import Relay
from server.link.service import Service
from server.log.opening import HubLog, open_log
from server.lookups import serve_lookups
from server.operation.watch import state_of, watch_hub
from server.standing.forwarding import ACTIONS as FORWARDED
from server.standing.forwarding import answer_forwarded
from server.standing.presence import ACTION, Presence, Presences, await_present, fetch_presence
from server.standing.registry import Standing
from server.training.conduct import Training
from server.training.coordinator import Coordinator, RunState
from server.training.direct import LinkGrid
from server.training.plan import RunFolder
from server.training.programs import Programs
from server.training.revoked import revoked_at

if TYPE_CHECKING:
    from server.attending import Attendant
    from server.training.control import ControlClient
    from server.training.superlink import SuperLink

_LOOK_EVERY_S = 0.2


@dataclass(slots=True)
class Hub:
    """A hub that is being served."""

    home: HubHome
    relay: Relay
    service: Service
    programs: Programs
    flower: Attendant | None
    log: HubLog


@contextmanager
def serve(home: HubHome, *, flower: bool = True) -> Iterator[Hub]:
    """Serve the link, the API and, unless told otherwise, Flower; all stops at the end."""
    check_settled(home.root)
    settings = home.settings()
    relay, standing = Relay(), Standing()
    programs = Programs(relay, home.root)
    with ExitStack() as parts:
        holding = open_holding(home)
        parts.callback(holding.close)
        watched = OperationSettings(settings.metrics, settings.otel)
        watch = parts.enter_context(watch_hub(settings.name, watched))
        log = parts.enter_context(open_log(home, links=standing))
        log.office.observer = watch.observer
        watch.serve(state_of(home, holding, standing, log).sources())
        epochs = Epochs(relay, standing, holding, journal=log.journal)

        presences = Presences(standing, home.partners)

        def control(request: dict[str, Any]) -> dict[str, Any]:
            if request.get("action") == ACTION:
                return presences.control()
            if request.get("action") in FORWARDED:
                return answer_forwarded(standing, request)
            about_epochs = request.get("action") in ACTIONS
            return epochs.control(request) if about_epochs else programs.control(request)

        service = Service(
            relay,
            hub=settings.name,
            on_control=control,
            standing=standing,
            revocations=Revocations(home.root),
            admission=Admission(home.root, settings.name),
        )
        service.start(
            f"{settings.host}:{settings.link_port}",
            authority=home.authority / "ca.crt",
            certificate=home.authority / "server.pem",
            key=home.authority / "server.key",
        )
        parts.callback(service.stop)
        parts.callback(relay.close)
        # What serves lookups ends before the streams over which other holders are asked.
        parts.enter_context(
            serve_lookups(home, holding, epochs, standing, log, observer=watch.observer)
        )
        if log.publishing is not None:
            log.publishing.start()
        attendant = parts.enter_context(_attended(home)) if flower else None
        yield Hub(home, relay, service, programs, attendant, log)


def run_over_flower(
    home: HubHome,
    run: str,
    watch: Callable[[dict[str, Any]], None],
    *,
    wait_s: float = 0.0,
    tell: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Start a proposed run on the hub that is being served; returns its last state.

    Any process of the hub's operator may do this: it reads where the SuperLink listens,
    and the token for it, from the hub's directory.

    Args:
        wait_s: how long to wait for partners that are not there.
        tell: is given one line about each of them.

    Raises:
        TransportError: a partner is not there; nothing was started.
    """
    from server.attending import register_partners  # noqa: PLC0415  as above
    from server.training.runs import begin, has_ended, state_of  # noqa: PLC0415  loads flwr

    folder = _proposed(home, run)
    control = _control(home)
    register_partners(home, control)
    plan = folder.load_plan()
    await_present(
        partial(_present, home, control) if wait_s else partial(fetch_presence, home),
        plan.nodes,
        enough=plan.goes_on_with,
        wait_s=wait_s,
        tell=tell,
    )
    begin(control, home.root, plan)
    while True:
        state = state_of(control, home.root, run)
        watch(state)
        # The record is the coordinator's last act: until then it closes the run at the partners.
        if state["state"] not in {"pending", "running"} and (
            folder.has_record() or has_ended(control, home.root, run)
        ):
            return state
        time.sleep(_LOOK_EVERY_S)


def _present(home: HubHome, control: ControlClient) -> list[Presence]:
    """Ask who is there; who waits wants the SuperNodes back too, which dial in their own time."""
    online = {name for name, node in control.nodes().items() if node.is_online}
    away = "its SuperNode is not connected"
    return [
        replace(presence, connected=False, standing="", reason=away)
        if presence.is_there and presence.name not in online
        else presence
        for presence in fetch_presence(home)
    ]


def run_directly(hub: Hub, run: str) -> RunState:
    """Run a proposed run over the link alone."""
    folder = _proposed(hub.home, run)
    plan = folder.load_plan()
    is_revoked = revoked_at(hub.home.root)
    grid = LinkGrid(hub.relay, run, is_revoked=is_revoked)
    conduct = Training(hub.home.root, plan, hub.service.answer, journal=hub.log.journal)
    coordinator = Coordinator(
        plan,
        grid,
        conduct,
        record=lambda state: folder.store_state(asdict(state)),
        clock=lambda: int(time.time()),
        is_revoked=is_revoked,
    )
    return coordinator.run()


def _proposed(home: HubHome, run: str) -> RunFolder:
    """Return the folder of a run that was proposed and never started."""
    folder = RunFolder(home.root, run)
    if not (folder.path / "proposed.json").exists():
        raise ConfigError(f"run: {run} was never proposed; run `lianfang-hub propose` first")
    if folder.load_state() is not None or folder.load_flower_run() is not None:
        # The partners have used its keys up: they would refuse every phase of it.
        raise ConfigError(f"run: {run} was started before; propose it again under another name")
    return folder


def superlink_of(home: HubHome) -> SuperLink:
    """Return the hub's SuperLink, not started yet."""
    from server.training.superlink import SuperLink, SuperLinkSettings  # noqa: PLC0415  loads flwr

    settings = home.settings()
    return SuperLink(
        SuperLinkSettings(
            home=home.root,
            ca_certificate=home.authority / "ca.crt",
            certificate=home.authority / "server.pem",
            private_key=home.authority / "server.key",
            host=settings.host,
            fleet_port=settings.fleet_port,
        )
    )


@contextmanager
def _attended(home: HubHome) -> Iterator[Attendant]:
    """Start Flower, or say why it does not start; it is stopped at the end."""
    from server.attending import Attendant  # noqa: PLC0415  loads flwr

    superlink = superlink_of(home)
    try:
        attendant = Attendant(home, superlink)
        attendant.look()
        yield attendant
    finally:
        superlink.stop()


def _control(home: HubHome) -> ControlClient:
    from server.training.control import ControlClient  # noqa: PLC0415  loads flwr

    try:
        gate = json.loads((home.root / "flower" / "gate.json").read_text())
        token = read_secret(Path(gate["token_file"])).decode()
    except FileNotFoundError as error:
        raise ConfigError("hub: not being served; run `lianfang-hub serve` first") from error
    return ControlClient(gate["inner_port"], home.authority / "ca.crt", token)
