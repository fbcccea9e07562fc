"""From a node's directory to a publisher that speaks with its hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clients.feed.drafts import Drafter
from clients.feed.home import FeedHome
from clients.feed.permitting import Permitting
from clients.feed.publishing import Progress, Publisher
from clients.feed.register import Register
from clients.keys import credentials, load_keys
from clients.lookup.api import HubApi
from clients.lookup.evaluating import Evaluator
from clients.lookup.trust import Trust
from compliance.clock import Clock, SystemClock
from protocols.group.select import load_group
from protocols.oprf.suite import Random, Suite


@dataclass(frozen=True, slots=True)
class Connection:
    """A hub that was reached, and the epoch that it is in."""

    api: HubApi
    drafter: Drafter
    publisher: Publisher


@contextmanager
def connected(
    home: FeedHome,
    register: Register,
    permitting: Permitting,
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
    random: Random = os.urandom,
) -> Iterator[Connection]:
    """Reach the hub and verify which epoch is in force.

    Raises:
        ConfigError: the node has not joined a hub, or pinned too few keys.
        TransportError: the hub cannot be reached.
        InvalidProofError: its manifest is not signed by all holders.
        NotPermittedError: this partner is no contributor in the epoch.
    """
    clock = clock or SystemClock()
    node = home.node
    trust = Trust(node)
    with HubApi(node.config().api, credentials(node.keys)) as api:
        manifest = trust.manifest(api, clock.now())
        drafter = Drafter(
            register=register,
            folder=home.tables,
            identity=load_keys(node.keys).identity,
            manifest=manifest,
            contributor=trust.name,
            random=random,
        )
        evaluator = Evaluator(node, api, manifest, Suite(load_group()), clock, random)
        publisher = Publisher(
            home,
            drafter,
            api=api,
            evaluator=evaluator,
            permit=permitting.publication,
            progress=progress,
        )
        yield Connection(api, drafter, publisher)
