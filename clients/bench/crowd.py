"""Nodes that are connected and do nothing else, as most nodes are most of the time.

Each has keys and a certificate of its own, made and approved by the commands that operators
use, and one standing stream to the hub, over which it could be asked. All streams are held by
one process beside the bench: `python -m clients.bench.crowd DIRECTORY...`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from clients.demo.bringing_up import Town, run_command
from clients.holder.stream import RefusedError, StandingLink
from clients.keys import credentials
from clients.node.home import Home
from clients.output import CommandError
from protocols.link import TransportError
from protocols.vertical.contract import Contract, Numeric

_CONNECTED = "connected"
_STOP_S = 20.0

Tell = Callable[[str], None]


@contextmanager
def crowd(town: Town, count: int, tell: Tell) -> Iterator[int]:
    """Keep `count` further nodes connected; yields how many the hub has let in."""
    if count <= 0:
        yield 0
        return
    tell(f"making {count} further nodes")
    names = [f"partner-{number:03}" for number in range(count)]
    contract = town.hub.parent / "crowd.json"
    contract.write_text(json.dumps(Contract((Numeric("nothing", 0.0, 1.0),)).format()))
    with ThreadPoolExecutor(2) as pool:
        places = list(pool.map(lambda name: _join(town, name, contract), names))
    tell("connecting them")
    line = [sys.executable, "-m", "clients.bench.crowd", *map(str, places)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module
    try:
        said = process.stdout.readline() if process.stdout is not None else ""
        if said.strip() != f"{_CONNECTED} {count}":
            raise CommandError("load: not every node was let in; see the hub's log")
        yield count
        if process.poll() is not None:
            raise CommandError("load: connected nodes lost the hub; see its log")
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _join(town: Town, name: str, contract: Path) -> Path:
    """Make a node and take it in, as two operators would; nobody trusts it with anything."""
    node = town.hub.parent / name
    table = node.with_suffix(".parquet")
    run_command(
        "lianfang", "node", "init", str(node), "--name", name, "--table", str(table),
        "--contract", str(contract),
    )  # fmt: skip
    request, welcome = node / f"{name}-request.json", node / "welcome.json"
    run_command("lianfang-hub", "approve", str(town.hub), str(request), "--out", str(welcome))
    run_command("lianfang", "node", "join", str(node), str(welcome))
    return node


def _hold(places: list[Path]) -> None:
    """Hold one stream for each node until this process is stopped."""
    greeted = {place: threading.Event() for place in places}
    with ThreadPoolExecutor(1) as pool:
        links = [_link(place, pool, greeted[place].set) for place in places]
        threads = [threading.Thread(target=link.serve, daemon=True) for link in links]
        for thread in threads:
            thread.start()
        for place in places:
            if not greeted[place].wait(_STOP_S):
                raise TransportError(f"{place.name} was not let in", retryable=False)
        sys.stdout.write(f"{_CONNECTED} {len(places)}\n")
        sys.stdout.flush()
        for thread in threads:
            thread.join()


def _link(place: Path, pool: ThreadPoolExecutor, on_greeted: Callable[[], None]) -> StandingLink:
    home = Home(place)
    config = home.config()
    return StandingLink(
        config.link,
        credentials(home.keys),
        name=config.name,
        answer=_refuse,
        pool=pool,
        on_greeted=on_greeted,
    )


def _refuse(_kind: str, _body: bytes) -> bytes:
    raise RefusedError("no_part", "this node has no part in what is asked")


if __name__ == "__main__":
    _hold([Path(argument) for argument in sys.argv[1:]])
