"""What a protocol may refuse, and under which stable name.

Untrusted bytes fail as `MalformedMessageError` and in no other way. Messages are lower
case, subject first, with sizes, indices and states; never a key, an identifier of a
person, an element or a model value.
"""

from __future__ import annotations

from typing import ClassVar


class ProtocolError(Exception):
    """The mathematics or the message is wrong."""

    code: ClassVar[str] = "protocol_error"


class MalformedMessageError(ProtocolError):
    """The bytes do not decode; the peer is at fault."""

    code: ClassVar[str] = "malformed_message"


class InvalidProofError(ProtocolError):
    """A proof, tag or signature does not verify; the peer is at fault."""

    code: ClassVar[str] = "invalid_proof"


class OutOfTurnError(ProtocolError):
    """The step is not legal in this state."""

    code: ClassVar[str] = "out_of_turn"


class UnsupportedParameterError(ProtocolError):
    """A plan, contract or parameter cannot be honoured; ours or the operator's fault."""

    code: ClassVar[str] = "unsupported_parameter"


class InvalidTableError(ProtocolError):
    """A partner's own table breaks its contract; names column, rule and cure, never a value."""

    code: ClassVar[str] = "invalid_table"
