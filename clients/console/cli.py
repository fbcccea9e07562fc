"""`lianfang node console`: the screens of a node's staff."""

from __future__ import annotations

from clients.program import PROGRAM
from compliance.commands.options import LogFormatOption
from compliance.commands.output import Format, Formatted
from compliance.commands.screens import Certificate, Demo, Directory, Host, Key, Port, show_screens
from compliance.operation.settings import LogFormat


def console(
    directory: Directory,
    port: Port = 9446,
    host: Host = "127.0.0.1",
    certificate: Certificate = None,
    key: Key = None,
    *,
    demo: Demo = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Serve the screens of a node's staff until stopped."""
    from clients.console.app import node_console

    show_screens(
        node_console, PROGRAM, directory,
        host=host, port=port, certificate=certificate, key=key, demo=demo,
        log_format=log_format, output=output,
    )  # fmt: skip
