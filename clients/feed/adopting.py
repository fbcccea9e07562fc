"""Taking over the table that the hub has, when this register made another one.

That happens when the register was lost or restored from a backup: version numbers have gone
on without it. The hub's table is believed because this contributor's own key signed it.
After that every record of the register is compared with it: what the register does not know
is taken out, so give the reports since the backup first.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol

from clients.feed.drafts import Drafter, mapped
from clients.feed.publication import Publication
from clients.lookup.api import TableList
from clients.node.files import exclusive
from protocols.errors import InvalidProofError
from protocols.lookup.header import SignedHeader, verify_header
from protocols.lookup.table import check_table


class Serves(Protocol):
    """What is needed of `clients.lookup.api.HubApi`."""

    def tables(self, epoch: int) -> TableList:
        """List the newest table of every contributor."""
        ...

    def table(self, epoch: int, contributor: str, version: int, sink: BinaryIO) -> None:
        """Write a whole table to `sink`."""
        ...


def resynchronise(drafter: Drafter, api: Serves) -> SignedHeader | None:
    """Take over the table that the hub has of this contributor, or that it has none.

    Raises:
        InvalidProofError: the table was not signed by this contributor, or is not the one
            that was signed.
        MalformedMessageError: the table is none.
    """
    with exclusive(drafter.folder.parent):
        signed = _own_header(drafter, api)
        if signed is not None:
            path = drafter.table(signed)
            draft = path.with_name(f".{path.name}")
            with draft.open("w+b") as sink:
                header = signed.header
                api.table(header.epoch, header.contributor, header.version, sink)
            check_table(signed.header, mapped(draft))
            draft.chmod(0o600)
            draft.replace(path)
        Publication(drafter.register).adopt(signed)
        return signed


def _own_header(drafter: Drafter, api: Serves) -> SignedHeader | None:
    for entry in api.tables(drafter.manifest.epoch).entries:
        if entry.contributor == drafter.contributor:
            header = verify_header(drafter.identity.public_key(), entry.header)
            expected = (drafter.manifest.hub, drafter.manifest.epoch, drafter.number)
            if (header.hub, header.epoch, header.number) != expected:
                raise InvalidProofError("own table at the hub: of another hub or epoch")
            return entry.header
    return None
