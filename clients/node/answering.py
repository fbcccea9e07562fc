"""Turning whatever happens in a phase into a reply, whichever way the request came.

Known errors keep their code and text: they name field, rule and cure, and never a person's
value. The text of any other exception may hold one, so it neither leaves the site nor
reaches a log.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from clients.keys import KeyStoreError
from clients.output import CommandError
from compliance.configuration import ConfigError
from compliance.errors import BudgetExhaustedError, ComplianceError, NotPermittedError
from protocols.errors import ProtocolError
from protocols.link import TransportError
from protocols.phase import PEER_LOST, PhaseReply, PhaseRequest, failed, refused
from protocols.versions import IncompatibleVersionError

Phase = Callable[[PhaseRequest], PhaseReply]
HUB = "hub"

_log = logging.getLogger(__name__)


def answer(request: PhaseRequest, phase: Phase) -> PhaseReply:
    """Do a phase; always returns a reply."""
    try:
        return phase(request)
    except (BudgetExhaustedError, IncompatibleVersionError, NotPermittedError) as error:
        # The rules say no, at this partner: nothing has failed, and asking again is of no use.
        _log.warning("phase %s refused: %s", request.phase, error.code)
        return refused(error.code, str(error))
    except TransportError as error:
        # Another partner's end is not this one's failure: the hub must not blame us for it.
        code = error.code if error.party in {None, HUB} else PEER_LOST
        _log.warning("phase %s failed: %s", request.phase, code)
        return failed(code, str(error))
    except (ConfigError, KeyStoreError) as error:
        # The text is for this site: it names files and folders.
        _log.warning("phase %s failed: %s: %s", request.phase, error.code, error)
        return failed(error.code, "this partner's node is not set up; `lianfang node doctor` helps")
    except (ProtocolError, ComplianceError, CommandError) as error:
        # A command's error, such as a refusal of the hub's API, was written to be read too.
        code = getattr(error, "code", "failed")
        _log.warning("phase %s failed: %s", request.phase, code)
        return failed(code, str(error))
    except Exception as error:  # noqa: BLE001  # the shell: whatever it is, the hub gets a reply
        _log.error("phase %s failed: %s at %s", request.phase, *_whereabouts(error))  # no text
        return failed(
            "internal_error", "the phase failed at this partner; the node's log says where"
        )


def _whereabouts(error: Exception) -> tuple[str, str]:
    """Name an exception's class and its place, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = (f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:])
    return type(error).__name__, " > ".join(places)
