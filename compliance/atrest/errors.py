"""The one way in which sealed keys and archives fail."""

from __future__ import annotations

from typing import ClassVar

from compliance.configuration import ConfigError


class SealedKeysError(ConfigError):
    """Sealed keys or a sealed archive do not open: locked, of another key, or damaged."""

    code: ClassVar[str] = "sealed_keys"
