"""Who is who: the hub's certificate authority and the names in its certificates."""

from server.identity.authority import (
    Authority,
    create_authority,
    issue_control,
    issue_node,
    issue_server,
    load_authority,
)
from server.identity.peer import CONTROL_NAME, node_uri, parse_peer

__all__ = [
    "CONTROL_NAME",
    "Authority",
    "create_authority",
    "issue_control",
    "issue_node",
    "issue_server",
    "load_authority",
    "node_uri",
    "parse_peer",
]
