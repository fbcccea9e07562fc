"""The relay on the network: gRPC, mutually authenticated, bytes in and bytes out.

`Attach` is one stream per node, run and phase; `Stand` is one per node, over which the hub
asks it; `Control` is for the hub's own certificate alone. The name of a caller is read from
its certificate and from nowhere else.

Each stream has two threads, one that reads from the node and one that writes to it.
Measured on two cores, grpc.aio was no faster, and threads let programs of the hub and
streams of nodes share one relay without a loop between them.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from protocols.errors import InvalidProofError, MalformedMessageError, ProtocolError
from protocols.link import (
    HEARTBEAT_S,
    HELLO_METADATA_KEY,
    MAX_ENVELOPE_SIZE,
    PARTY_METADATA_KEY,
    RECEIVED_METADATA_KEY,
    RESUME_METADATA_KEY,
    SERVICE,
    SILENT_GRACE_S,
    Envelope,
    Kind,
    Resumption,
    TransportError,
)
from protocols.versions import HEADER, offer
from server.identity.admission import Admission, named_at
from server.identity.issued import Bars
from server.identity.peer import CONTROL_NAME
from server.identity.serving import ServerFiles
from server.link.attachment import Attachment
from server.link.callers import REVOKED, Caller, Callers
from server.link.credentials import live_credentials
from server.link.losses import Losses
from server.link.relay import Relay
from server.link.versions import require_version
from server.standing.registry import Standing
from server.standing.stream import Stream

SUPERSEDED = "this certificate was renewed; connect with the new one"
ControlHandler = Callable[[dict[str, Any]], dict[str, Any]]
# A lost connection is noticed on both ends within 20 s: a ping every 8, 12 for the answer.
# The core library waits a minute for answers unless both of its timeouts are set.
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.max_send_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.keepalive_time_ms", 8_000),
    ("grpc.keepalive_timeout_ms", 12_000),
    ("grpc.http2.ping_timeout_ms", 12_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Without this a second hub could share the port by mistake and take half of the nodes.
    ("grpc.so_reuseport", 0),
)


class Service:
    """A gRPC server in front of one relay.

    Args:
        hub: name of the hub, the trust domain of all certificates.
        on_control: answers control requests that the relay does not know itself; it runs
            in a thread of the server, and `stop` waits for it. It may refuse by raising
            a `ProtocolError` or a `TransportError`, whose text the caller is given.
        max_streams: streams at a time; further ones are refused and may be tried again.
        standing: where nodes stand by to be asked; without it nobody is let in for that.
        revocations: whose certificates count no more; asked for every new stream, and for the
            open ones again and again.
        admission: who is let in beside those whom the hub's authority names; None is nobody.
        grace_s: how long a node whose line was lost may be away from a phase before the phase
            is broken off; less where its connection was closed, see `protocols.link.grace_s`.
        wire: the versions that this hub offers; see `protocols.versions`.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        hub: str,
        on_control: ControlHandler,
        max_streams: int = 256,
        standing: Standing | None = None,
        revocations: Bars | None = None,
        admission: Admission | None = None,
        grace_s: float = SILENT_GRACE_S,
        wire: str = offer(),
    ) -> None:
        self._relay = relay
        self._wire = wire
        self._callers = Callers(revocations)
        self._losses = Losses(grace_s)
        self._standing = standing
        self._admission = admission
        self._admits = named_at(hub) if admission is None else admission.identify
        self._on_control = on_control
        self._threads = ThreadPoolExecutor(max_streams, thread_name_prefix="link")
        self._server = grpc.server(
            self._threads, options=OPTIONS, maximum_concurrent_rpcs=max_streams
        )
        handlers = {
            "Attach": grpc.stream_stream_rpc_method_handler(self._attach),
            "Control": grpc.unary_unary_rpc_method_handler(self._control),
        }
        if standing is not None:
            handlers["Stand"] = grpc.stream_stream_rpc_method_handler(
                partial(self._stand, standing)
            )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )

    def start(self, address: str, *, authority: Path, certificate: Path, key: Path) -> int:
        """Listen at `host:port` and return the port, which is chosen if 0 was given.

        The files are read anew when they are replaced.

        Raises:
            TransportError: the address is taken or not ours.
        """
        credentials = live_credentials(self._files(authority, certificate, key))
        try:
            port: int = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise TransportError(f"cannot listen at {address}", retryable=True) from error
        self._callers.start()
        self._losses.start()
        self._server.start()
        return port

    def stop(self, reason: str = "the hub stops", grace_s: float = 5.0) -> None:
        """Tell every node why, then end the streams; returns when all have ended."""
        self._relay.close(reason)
        if self._standing is not None:
            self._standing.close(reason)
        self._server.stop(grace_s).wait()
        self._threads.shutdown()
        self._losses.stop()
        self._callers.stop()

    def _attach(self, frames: Iterator[bytes], context: Any) -> Iterator[bytes]:
        caller, attachment = self._admit(context)
        problems: list[_Problem] = []

        def end() -> None:
            problems.append((_DENIED, REVOKED))
            attachment.break_off(REVOKED)

        # Watched for as long as the party may come back, not only while this stream lasts.
        forget = self._callers.watch(caller, end)
        # The callback fires however the stream ends; it changes nothing for a party that
        # has left. It is refused if the stream has ended already.
        ended = partial(self._losses.note, attachment, forget)
        if not context.add_callback(ended):
            ended()
        reader = threading.Thread(
            target=_read, args=(frames, attachment, problems), name="link-read", daemon=True
        )
        reader.start()
        told = [(HEADER, self._wire)]
        if attachment.resumable:
            told.append((RECEIVED_METADATA_KEY, str(attachment.received)))
        context.send_initial_metadata(tuple(told))
        yield attachment.welcome()
        wait_s = HEARTBEAT_S if attachment.resumable else None
        while (frame := attachment.next_frame(wait_s)) is not None:
            yield frame
        if problems:
            context.abort(*problems[0])

    def _stand(self, standing: Standing, frames: Iterator[bytes], context: Any) -> Iterator[bytes]:
        caller, stream = self._admit_standing(standing, context)
        problems: list[_Problem] = []
        broken = partial(standing.leave, stream, "its connection was lost")

        def end() -> None:
            problems.append((_DENIED, REVOKED))
            standing.leave(stream, REVOKED)

        forget = self._callers.watch(caller, end)
        for callback in (forget, broken):
            if not context.add_callback(callback):
                callback()
        reader = threading.Thread(
            target=_read_standing,
            args=(frames, standing, stream, problems),
            name="stand-read",
            daemon=True,
        )
        reader.start()
        context.send_initial_metadata(((HEADER, self._wire),))
        while (frame := stream.next_frame()) is not None:
            yield frame
        if problems:
            context.abort(*problems[0])

    def _admit_standing(self, standing: Standing, context: Any) -> tuple[Caller, Stream]:
        try:
            caller = self._caller(context)
            if caller.name == CONTROL_NAME:
                context.abort(_DENIED, "standing links are for partners")
            require_version(context, caller.name, self._wire)
            return caller, standing.join(caller.name)
        except TransportError as error:
            status = grpc.StatusCode.ABORTED if error.retryable else _DENIED
            context.abort(status, str(error))
        except ProtocolError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort raises")

    def _admit(self, context: Any) -> tuple[Caller, Attachment]:
        try:
            caller = self._caller(context)
            require_version(context, caller.name, self._wire)
            hello, resumption = _hello(context), _resumption(context)
            return caller, self._relay.attach(hello.run, hello.phase, caller.name, resumption)
        except TransportError as error:
            status = grpc.StatusCode.ABORTED if error.retryable else _DENIED
            if error.party is not None:
                # So that the node can say whose failure it is, and that it is not its own.
                context.set_trailing_metadata(((PARTY_METADATA_KEY, error.party),))
            context.abort(status, str(error))
        except ProtocolError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort raises")

    def _control(self, data: bytes, context: Any) -> bytes:
        try:
            if self._caller(context).name != CONTROL_NAME:
                context.abort(_DENIED, "control is for the hub itself")
            return json.dumps(self.answer(_parse_request(data))).encode()
        except TransportError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except ProtocolError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort raises")

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a control request asks; the caller has shown that it is the hub."""
        match request:
            case {"action": "open_run", "run": str(run), "parties": [*parties]}:
                self._relay.open_run(run, [str(party) for party in parties])
                return {"run": run}
            case {"action": "narrow_run", "run": str(run), "parties": [*parties]}:
                self._relay.narrow_run(run, [str(party) for party in parties])
                return {"run": run}
            case {"action": "close_run", "run": str(run), "reason": str(reason)}:
                self._relay.close_run(run, reason)
                return {"run": run}
            case {
                "action": "break_phase",
                "run": str(run),
                "phase": str(phase),
                "attempt": int(attempt),
                "party": str(party),
            }:
                self._relay.break_phase(run, phase, attempt, party, "it failed in the phase")
                return {"run": run}
            case {"action": "run_status", "run": str(run)}:
                return {"run": run, "status": self._status(run)}
            case {
                "action": "open_run"
                | "narrow_run"
                | "break_phase"
                | "close_run"
                | "run_status" as action
            }:
                raise MalformedMessageError(f"control: fields of {action} missing or of wrong type")
            case _:
                return self._on_control(request)

    def _status(self, run: str) -> dict[str, object] | None:
        status = self._relay.status(run)
        if status is None:
            return None
        traffic = [
            {"party": t.party, "phase": t.phase, "direction": t.direction, "bytes": t.size_bytes}
            for t in self._relay.traffic(run)
        ]
        return {**status, "traffic": traffic}

    def _caller(self, context: Any) -> Caller:
        (certificate,) = context.auth_context()["x509_pem_cert"]
        peer = self._admits(ssl.PEM_cert_to_DER_cert(certificate.decode("ascii")))
        if peer.is_proxy:
            raise InvalidProofError("peer certificate: names no node of this hub")
        caller = Caller(peer.name, peer.serial)
        self._callers.check(caller)
        if self._admission is not None and self._admission.has_ended(peer.name, peer.serial):
            raise TransportError(SUPERSEDED, retryable=True)
        return caller

    def _files(self, authority: Path, certificate: Path, key: Path) -> ServerFiles:
        if self._admission is None:
            return ServerFiles(certificate, key, roots=authority.read_text)
        admission = self._admission
        return ServerFiles(certificate, key, roots=admission.roots, stamp=admission.stamp)


_DENIED = grpc.StatusCode.PERMISSION_DENIED
_Problem = tuple[grpc.StatusCode, str]


def _read(frames: Iterator[bytes], attachment: Attachment, problems: list[_Problem]) -> None:
    try:
        for frame in frames:
            attachment.accept(frame)
    except MalformedMessageError as error:
        problems.append((grpc.StatusCode.INVALID_ARGUMENT, str(error)))
        attachment.break_off("it sent a malformed frame")
    except (TransportError, grpc.RpcError):
        # Over for this party, or cut off: the other thread and the callback see to it.
        return
    # A lost connection can look like this too, and whoever may come back is waited for: that is
    # settled where the call ends.
    if not attachment.resumable:
        attachment.break_off("it ended its stream without leaving")


def _read_standing(
    frames: Iterator[bytes], standing: Standing, stream: Stream, problems: list[_Problem]
) -> None:
    try:
        for frame in frames:
            stream.accept(frame)
    except MalformedMessageError as error:
        problems.append((grpc.StatusCode.INVALID_ARGUMENT, str(error)))
        standing.leave(stream, "it sent a malformed frame")
    except grpc.RpcError:
        # Cut off: the callback of the call says so.
        return
    standing.leave(stream, "it ended its stream")


def _hello(context: Any) -> Envelope:
    found = [value for key, value in context.invocation_metadata() if key == HELLO_METADATA_KEY]
    if len(found) != 1:
        raise MalformedMessageError(f"hello: {len(found)} in the call, expected 1")
    envelope = Envelope.decode(found[0])
    if envelope.kind is not Kind.HELLO:
        raise MalformedMessageError(f"hello: {envelope.kind.name} found instead")
    return envelope


def _resumption(context: Any) -> Resumption | None:
    found = [value for key, value in context.invocation_metadata() if key == RESUME_METADATA_KEY]
    if len(found) > 1:
        raise MalformedMessageError(f"resumption: {len(found)} in the call, expected one at most")
    return Resumption.decode(found[0]) if found else None


def _parse_request(data: bytes) -> dict[str, Any]:
    try:
        request = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError("control: not valid json") from error
    if not isinstance(request, dict):
        raise MalformedMessageError("control: not a json object")
    return request
