"""Leaving the process's logging as it was, and a stream that takes it down meanwhile."""

import io
import logging
import os
import sys
import threading

import pytest

from compliance.operation.settings import FORMAT_VARIABLE


@pytest.fixture
def stream():
    """Where the log of one test goes."""
    root, former_env = logging.getLogger(), os.environ.get(FORMAT_VARIABLE)
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    loggers = {
        name: (item.level, item.disabled, item.filters[:], item.handlers[:], item.propagate)
        for name, item in logging.root.manager.loggerDict.items()
        if isinstance(item, logging.Logger)
    }
    yield io.StringIO()
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(False)
    for name, item in logging.root.manager.loggerDict.items():
        if isinstance(item, logging.Logger):
            level, item.disabled, item.filters[:], item.handlers[:], item.propagate = loggers.get(
                name, (logging.NOTSET, False, [], [], True)
            )
            item.setLevel(level)
    if former_env is None:
        os.environ.pop(FORMAT_VARIABLE, None)
    else:
        os.environ[FORMAT_VARIABLE] = former_env
