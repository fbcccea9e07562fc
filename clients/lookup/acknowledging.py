"""Telling contributors that their newest table is in force here, and asking who has said so.

A contributor that withdrew a report must know whom the correction reached. The word of a
reader is signed by it and names one version by the digest of its header: the hub can hold it
back, but cannot make one up. It is given after the table is in force here, never before.

    NODE/lookup/acknowledged.json   the version that was last acknowledged, by contributor
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clients.keys import load_keys
from clients.lookup.api import HubApi
from clients.lookup.https import HubRefusedError
from clients.lookup.trust import Trust
from clients.node.files import store_json
from clients.node.home import Home
from compliance.configuration import ConfigError, read_object
from protocols.errors import ProtocolError
from protocols.link import TransportError
from protocols.lookup.acknowledgement import (
    Acknowledgement,
    sign_acknowledgement,
    verify_acknowledgement,
)
from protocols.lookup.header import TableHeader


@dataclass(frozen=True, slots=True)
class Readership:
    """Who has said that it applies which version of our table.

    Args:
        version: the one in force at the hub.
        applied: the newest version that each reader has signed for, and when; None for
            readers that have said nothing.
        refused: readers whose word does not hold, and why.
    """

    epoch: int
    version: int
    applied: dict[str, Acknowledgement | None]
    refused: dict[str, str]

    @property
    def behind(self) -> list[str]:
        """Readers that have not said that they apply the version in force."""
        return sorted(
            name
            for name, said in self.applied.items()
            if said is None or said.version < self.version
        )


class Acknowledging:
    """Acknowledges tables for one node."""

    def __init__(self, home: Home, trust: Trust) -> None:
        self._home = home
        self._trust = trust
        self._path = home.root / "lookup" / "acknowledged.json"

    def tell(self, api: HubApi, headers: Iterable[TableHeader], now: int) -> str:
        """Acknowledge every table that was not yet; returns why not all could be, or nothing.

        What could not be told is told at the next time: a desk never waits for it.
        """
        known = dict(read_object(self._path)) if self._path.exists() else {}
        identity, problem = None, ""
        for header in headers:
            place = f"{header.epoch}/{header.contributor}"
            if header.contributor == self._trust.name or known.get(place) == header.digest.hex():
                continue
            identity = identity or load_keys(self._home.keys).identity
            said = Acknowledgement.of(header, reader=self._trust.name, now=now)
            try:
                api.acknowledge(sign_acknowledgement(identity, said))
            except (TransportError, HubRefusedError, ProtocolError) as error:
                problem = str(error)
                continue
            known[place] = header.digest.hex()
            store_json(self._path, known)
        return problem


def readership(api: HubApi, trust: Trust, epoch: int, version: int) -> Readership:
    """Ask the hub who applies our table, and verify every word.

    Args:
        version: that we published last, as this node knows it.

    Raises:
        TransportError, HubRefusedError: the hub cannot be asked.
        MalformedMessageError: its answer is none.
    """
    names, said = api.acknowledgements(epoch, trust.name)
    applied: dict[str, Acknowledgement | None] = dict.fromkeys(names)
    refused: dict[str, str] = {}
    for signed in said:
        word = signed.statement
        try:
            verify_acknowledgement(trust.identity(word.reader), signed)
        except (ConfigError, ProtocolError) as error:
            refused[word.reader] = str(error)
            continue
        if (word.epoch, word.contributor) != (epoch, trust.name):
            refused[word.reader] = "acknowledgement: of another table"
            continue
        applied[word.reader] = word
    return Readership(epoch, version, applied, refused)
