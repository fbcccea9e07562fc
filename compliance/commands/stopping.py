"""How commands that run on are stopped: by a signal, in an orderly way."""

from __future__ import annotations

import signal
import threading


def stop_event() -> threading.Event:
    """Return what is set when the process is told to stop; for the main thread.

    To be called before anything is started, so that a stop during the start leaves nothing behind.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
