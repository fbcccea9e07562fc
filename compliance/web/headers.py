"""What every answer says to the browser, whatever the page: nothing from elsewhere runs here.

Source:
    Content Security Policy Level 3; Trusted Types; RFC 6797 (HSTS), section 8.1; Fetch
    (Cross-Origin-Resource-Policy); HTML (Cross-Origin-Opener-Policy); Referrer Policy.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_FEATURES = ("camera", "geolocation", "microphone", "payment", "usb", "display-capture")
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": ", ".join(
        [*(f"{name}=()" for name in _FEATURES), "publickey-credentials-get=(self)"]
    ),
}
TRANSPORT = "max-age=63072000"


class SafeHeaders:
    """ASGI middleware that puts the fields above on every answer.

    Args:
        transport: whether browsers are to come by HTTPS alone from then on. A site on
            `localhost` must not ask for it: it would bind every other program there.
    """

    def __init__(self, app: ASGIApp, *, transport: bool) -> None:
        self._app = app
        self._fields = {
            **HEADERS,
            **({"Strict-Transport-Security": TRANSPORT} if transport else {}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._fields.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, complete)
