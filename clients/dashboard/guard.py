"""Access control of the dashboard: every request is checked before the application sees it.

Three checks stop three attacks. The Host header must name this machine: a web page that points its own host name here (DNS
rebinding) fails. Only GET and HEAD are allowed: the dashboard writes nothing. A cookie must hold this process's secret: a
browser gets it by a link that works once, and pages of other sites cannot have it sent (SameSite=Strict).
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curvestop.proto.endpoint import host_of

TOKEN_BYTES = 32
"""Number of random bytes in a link's token and in the cookie's secret."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response: no foreign scripts, no frames, and nothing is cached."""

# The page that sets the cookie redirects by itself instead of by status 303: a browser that came from another site (a mail, a
# chat) would not send a SameSite=Strict cookie along with a redirected request.
_LOGIN_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<link rel="icon" href="/static/icon.svg"><title>curvestop</title></head><body><a href="/">Continue</a></body></html>'
)


class LoginLinks:
    """Links that let one browser in, each of which works once. Safe for several threads.

    Args:
        on_used: Called with the query of the next link whenever one was used.

    Examples:
        >>> links = LoginLinks()
        >>> token = links.query.removeprefix("?token=")
        >>> links.use(token), links.use(token)
        (True, False)
    """

    def __init__(self, on_used: Callable[[str], None] = lambda query: None) -> None:
        self._lock = threading.Lock()
        self._on_used = on_used
        self._token = secrets.token_urlsafe(TOKEN_BYTES)

    @property
    def query(self) -> str:
        """The query string of the link that works now."""
        return f"?token={self._token}"

    def use(self, given: str) -> bool:
        """Return whether a token is right; if so, it is replaced by a new one.

        Args:
            given: The token of the link that was opened.
        """
        with self._lock:
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return False
            self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._on_used(self.query)
        return True


class Guard:
    """ASGI middleware that lets a request through to the application only if it passes all checks.

    Args:
        app: The application.
        hosts: Host names by which browsers may address this machine.
        cookie: Name of the cookie. It should contain the port, as browsers send a host's cookies to all of its ports.
        links: The links that set the cookie.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], cookie: str, links: LoginLinks) -> None:
        self._app, self._hosts, self._cookie, self._links = app, frozenset(map(str.lower, hosts)), cookie, links
        self._secret = secrets.token_urlsafe(TOKEN_BYTES)  # of this process: a restart logs every browser out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: by a refusal, by the login page, or by the application."""
        if scope["type"] != "http":
            return  # web sockets are not answered
        # The host comes first: a foreign page must not even spend a link.
        response = self._refused(scope) or self._logged_in(scope) or self._without_cookie(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await (response or self._app)(scope, receive, send_with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        """Return a refusal if the host or the method is not allowed."""
        # Two Host headers are refused as well: another parser might read the other one.
        host = Headers(scope=scope).getlist("host")
        # The port may be a tunnel's, so it is not checked.
        if len(host) != 1 or host_of(host[0]) not in self._hosts:
            return PlainTextResponse("the dashboard does not serve this host name; see --allow-remote\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("the dashboard is read-only: use GET or HEAD\n", 405, {"Allow": "GET, HEAD"})
        return None

    def _logged_in(self, scope: Scope) -> Response | None:
        """Return the page that sets the cookie if the request comes by a link, or a refusal if the link is spent."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] != "/" or not given:
            return None
        # A link is spent even if its cookie is lost, so one that leaks from a browser's history opens nothing.
        if not self._links.use(given[0]):
            message = "this link is wrong or was used before: open the last link that `curvestop dashboard` printed\n"
            return PlainTextResponse(message, 401)
        response = HTMLResponse(_LOGIN_PAGE)
        response.set_cookie(self._cookie, self._secret, httponly=True, samesite="strict", path="/")
        return response

    def _without_cookie(self, scope: Scope) -> Response | None:
        """Return a refusal if no cookie holds the secret."""
        if any(self._holds_secret(header) for header in Headers(scope=scope).getlist("cookie")):
            return None
        return PlainTextResponse("this browser is not logged in: open the last link that `curvestop dashboard` printed\n", 401)

    def _holds_secret(self, cookie_header: str) -> bool:
        try:
            morsel = SimpleCookie(cookie_header).get(self._cookie)
        except CookieError:
            return False
        # Compared in constant time, so that response times do not give the secret away.
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self._secret.encode())
