"""Watching a node's key holder, the one process of a node that always runs."""

from __future__ import annotations

from functools import partial

from clients.operation.meter import PREFIX, NodeMeter
from compliance.operation.settings import OperationSettings
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


def watch_node(name: str, settings: OperationSettings) -> Watch:
    """Make the observers of a node's holder; see `compliance.operation.watching.start_watch`.

    Args:
        name: of the node.
    """
    return start_watch(
        settings, prefix=PREFIX, service=SERVICE, site=name, meter=partial(NodeMeter, kinds=KINDS)
    )
