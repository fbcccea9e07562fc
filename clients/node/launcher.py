"""What the SuperNode starts for every message, in place of Flower's `flwr-clientapp`.

Stock Flower unpacks whatever bundle the coordinator sent and runs it. This program never
unpacks, imports or stores a bundle: it compares the bundle's hash with the one that the
installed code computes, and calls the installed code. Anything else is answered with a
refusal, because a launcher that merely exits is started again and again while the
coordinator waits.

    SuperNode -> launcher   task input (run, bundle, context) and one message
    launcher -> SuperNode   one reply, then the outcome of the task

If this process dies over a message, Flower answers for it (`client_app_crashed`) half a
minute later and does not start it again: a phase is repeated only when the hub asks anew.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from flwr.app import Message
from flwr.common.args import add_args_flwr_app_common, try_obtain_flwr_app_token
from flwr.common.constant import SubStatus
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.tls import validate_and_resolve_root_certificates
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from clients.node.answering import Phase
from clients.node.app import handle, write_reply
from compliance.operation.logs import configure_as_parent
from protocols.bundle import bundle_hash
from protocols.phase import DEADLINE, PhaseReply, PhaseRequest, failed, refused

NODE_HOME = "LIANFANG_NODE_HOME"
PHASES_MODULE = "clients.node.phases"
PARENT_POLL_S = 0.5

_log = logging.getLogger("lianfang.launcher")


class DeadlineError(BaseException):
    """The hub no longer waits; not an Exception, so that no phase swallows it."""


def main(argv: Sequence[str] | None = None, phase: Phase | None = None) -> int:
    """Answer the one message that this process was started for; return the exit code.

    The work is done by `phase`; by default by the installed `clients.node.phases`.
    """
    configure_as_parent()
    arguments = _parse(argv)
    home = Path(os.environ[NODE_HOME])
    if arguments.parent_pid is not None:
        _end_with(arguments.parent_pid)
    with _runtime(arguments) as client:
        message, context, _run, fab = pull_task_input(client)
        received = hashlib.sha256(fab.content).hexdigest()
        reply = answer(message, received, phase or partial(_installed_phase, home))
        push_message(client, reply, context)
        push_task_output(client, context, SubStatus.COMPLETED, "")
    return 0


def answer(message: Message, received_hash: str, phase: Phase) -> Message:
    """Refuse what this node did not approve; otherwise do the phase.

    `received_hash` is of the bundle's bytes as they arrived, not as anyone named them.
    """
    started = time.monotonic()
    if received_hash != bundle_hash():
        reply = write_reply(message, _not_approved(received_hash))
    else:
        reply = handle(message, bounded(phase))
    record = reply.content["reply"]
    _log.info(
        "type=%s status=%s code=%s seconds=%.3f",
        message.metadata.message_type,
        record["status"],
        record["code"],
        time.monotonic() - started,
    )
    return reply


def bounded(phase: Phase) -> Phase:
    """End a phase at its deadline, so that a partner is free when the hub has given up."""

    def run(request: PhaseRequest) -> PhaseReply:
        try:
            with _alarm(request.deadline_s):
                return phase(request)
        except DeadlineError:
            return failed(DEADLINE, f"the phase took longer than {request.deadline_s} s")

    return run


def _installed_phase(home: Path, request: PhaseRequest) -> PhaseReply:
    # Imported per message and by name: start-up stays fast, and torch is loaded only by
    # the phases that compute.
    run: Callable[[Path, PhaseRequest], PhaseReply] = importlib.import_module(PHASES_MODULE).run
    return run(home, request)


def _not_approved(received_hash: str) -> PhaseReply:
    return refused(
        "bundle_not_approved",
        f"this node runs only its installed code (bundle {bundle_hash()[:16]}), not the bundle"
        f" {received_hash[:16]}; install the same version on both sides",
    )


@contextmanager
def _alarm(seconds: float) -> Generator[None]:
    def ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # signal's signature
        raise DeadlineError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _runtime(arguments: argparse.Namespace) -> Generator[RuntimeHttpClient]:
    """Connect to the SuperNode and keep the task's lease alive by heartbeats."""
    client = RuntimeHttpClient.from_server_address(
        server_address=arguments.runtime_api_address,
        insecure=arguments.insecure,
        root_certificates=validate_and_resolve_root_certificates(
            arguments.root_certificates, arguments.insecure
        ),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
            RuntimeTokenHttpInterceptor(try_obtain_flwr_app_token(arguments)),
        ],
        retry_invoker=make_simple_http_retry_invoker(),
    )
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    try:
        yield client
    finally:
        if heartbeat.is_running:
            heartbeat.stop()
        client.close()


def _end_with(parent: int) -> None:
    """End this process, wherever it is, once its parent is gone: nobody takes its reply.

    Asks who the parent *is*: a dead one that nobody has reaped would still seem to exist.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="flwr-clientapp", description=__doc__)
    parser.add_argument("--runtime-api-address", required=True)
    add_args_flwr_app_common(parser)
    # A flag that a later Flower adds must not keep the node from refusing.
    return parser.parse_known_args(argv)[0]


if __name__ == "__main__":
    sys.exit(main())
