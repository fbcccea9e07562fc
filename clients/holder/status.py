"""What a holder's operator wants to know: connected or not, which epochs, who used how much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clients.holder.home import HolderHome
from clients.node.home import Home
from compliance.errors import UnknownEpochError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.evidence import read_evidence
from compliance.evaluations.store import EpochStore
from protocols.epoch.manifest import EpochManifest


def describe(directory: Path, now: int) -> dict[str, Any]:
    """Describe the holder from its files; it may be running or not.

    Raises:
        ConfigError: there is no node here, or it has joined no hub.
    """
    home = HolderHome(Home(directory))
    config = home.config()
    noted = home.noted()
    store, book = home.store(), home.book()
    try:
        epochs = [
            _epoch(store.manifest(epoch), store=store, book=book, now=now)
            for epoch in store.epochs()
        ]
    finally:
        book.close()
    return {
        "name": config.name,
        "running": noted is not None,
        "connected": bool(noted and noted["connected"]),
        "reason": noted["reason"] if noted else "",
        "epochs": epochs,
    }


def evidence(directory: Path, epoch: int, asker: str) -> bytes:
    """Return what an auditor is given: this holder's book about one asker in one epoch.

    Raises:
        UnknownEpochError: no such epoch has been agreed here.
        ConfigError: there is no node here.
    """
    home = HolderHome(Home(directory))
    # Read first: what is no node's directory must not become one halfway.
    name = home.config().name
    return read_evidence(home.root, name, asker, epoch)


def _epoch(
    manifest: EpochManifest, *, store: EpochStore, book: EvaluationBook, now: int
) -> dict[str, Any]:
    try:
        held = store.share(manifest.epoch) is not None
    except UnknownEpochError:
        held = False
    return {
        "epoch": manifest.epoch,
        "generation": manifest.record.generation,
        "state": _state(manifest, now),
        "share": held,
        "threshold": manifest.record.threshold,
        "holders": list(manifest.record.holders),
        "not_before": manifest.not_before,
        "not_after": manifest.not_after,
        "grace_s": manifest.grace_s,
        "askers": {
            name: {"quota": grant.quota, "used": book.used(manifest.epoch, name)}
            for name, grant in sorted(manifest.askers.items())
        },
    }


def _state(manifest: EpochManifest, now: int) -> str:
    if now < manifest.not_before:
        return "to come"
    if manifest.covers(now):
        return "in force"
    return "grace" if manifest.serves(now) else "over"
