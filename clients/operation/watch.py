"""Watching a node's key holder, the one process of a node that always runs."""

from __future__ import annotations

from functools import partial

from clients.holder.home import HolderHome
from clients.operation.meter import PREFIX, NodeMeter
from compliance.operation.settings import load_operation
from compliance.operation.watching import Watch, start_watch
from protocols.epoch import orders
from protocols.tlog.asking import ADD_CHECKPOINT

SERVICE = "lianfang-holder"
KINDS = frozenset(
    {
        orders.EVALUATE,
        orders.ANNOUNCE,
        orders.RUN,
        orders.ACTIVATE,
        orders.END,
        ADD_CHECKPOINT,
    }
)


def watch_node(home: HolderHome) -> Watch:
    """Make the observers that node.json asks for; see `compliance.operation.watching.start_watch`.

    Raises:
        ConfigError: `metrics` or `otel` in node.json cannot be honoured.
    """
    return start_watch(
        load_operation(home.node.root / "node.json"),
        prefix=PREFIX,
        service=SERVICE,
        site=home.config().name,
        meter=partial(NodeMeter, kinds=KINDS),
    )
