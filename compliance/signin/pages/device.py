"""What a browser calls itself, in two words: enough to tell one's own sessions apart."""

from __future__ import annotations

_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"))
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def device_of(agent: str) -> str:
    """Return browser and system of a User-Agent field; empty where it tells neither."""
    found = [next((name for mark, name in _BROWSERS if mark in agent), "")]
    if not found[0] and "Safari/" in agent:
        found[0] = "Safari"
    found.append(next((name for mark, name in _SYSTEMS if mark in agent), ""))
    return ", ".join(word for word in found if word)
