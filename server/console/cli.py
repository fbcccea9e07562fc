"""`lianfang-hub console`: the screens of the hub's staff."""

from __future__ import annotations

from compliance.commands.options import LogFormatOption
from compliance.commands.output import Format, Formatted
from compliance.commands.screens import Certificate, Demo, Directory, Host, Key, Port, show_screens
from compliance.operation.settings import LogFormat
from server.program import PROGRAM


def console(
    directory: Directory,
    port: Port = 9447,
    host: Host = "127.0.0.1",
    certificate: Certificate = None,
    key: Key = None,
    *,
    demo: Demo = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Serve the screens of the hub's staff until stopped."""
    from server.console.app import hub_console

    show_screens(
        hub_console, PROGRAM, directory,
        host=host, port=port, certificate=certificate, key=key, demo=demo,
        log_format=log_format, output=output,
    )  # fmt: skip
