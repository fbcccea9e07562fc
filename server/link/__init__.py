"""The relay between compute parties: it moves sealed frames that it cannot read."""

from server.link.control import call_control
from server.link.endpoint import LocalEndpoint
from server.link.relay import Relay, Traffic
from server.link.service import Service

__all__ = ["LocalEndpoint", "Relay", "Service", "Traffic", "call_control"]
