"""The dashboard's door: what comes from another host name, would write, or has not the cookie is refused before anything is done.

The cookie is had by a link that works once; the program prints a new one whenever one was used. A page of another site cannot
have the cookie sent (SameSite=Strict), and one that points a name of its own at this machine fails at the Host check.
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

TOKEN_BYTES = 32
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
_ENTER = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<link rel="icon" href="/static/icon.svg"><title>curvestop</title></head><body><a href="/">Go on</a></body></html>'
)


class Links:
    """Links that let one browser in, each once. on_used: told the query of the next one."""

    def __init__(self, on_used: Callable[[str], None] = lambda query: None) -> None:
        self._lock = threading.Lock()
        self._on_used = on_used
        self._token = secrets.token_urlsafe(TOKEN_BYTES)

    @property
    def query(self) -> str:
        return f"?token={self._token}"

    def use(self, given: str) -> bool:
        with self._lock:
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return False
            self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._on_used(self.query)
        return True


class Guard:
    """ASGI middleware about the application.

    hosts: names under which browsers may know this machine. cookie: its name, as cookies of all ports are sent to each.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], cookie: str, links: Links) -> None:
        self._app, self._hosts, self._cookie, self._links = app, frozenset(map(str.lower, hosts)), cookie, links
        self._secret = secrets.token_urlsafe(TOKEN_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = self._refusal(scope) or self._entrance(scope) or self._without_cookie(scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await (answer or self._app)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> Response | None:
        host = Headers(scope=scope).getlist("host")
        if len(host) != 1 or _name_of(host[0]) not in self._hosts:
            return PlainTextResponse("this is not the name of the dashboard's host\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("the dashboard only shows\n", 405, {"Allow": "GET, HEAD"})
        return None

    def _entrance(self, scope: Scope) -> Response | None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] != "/" or not given:
            return None
        if not self._links.use(given[0]):
            return PlainTextResponse("this link was used before, or is not one: `curvestop dashboard` prints the next one\n", 401)
        answer = HTMLResponse(_ENTER)
        answer.set_cookie(self._cookie, self._secret, httponly=True, samesite="strict", path="/")
        return answer

    def _without_cookie(self, scope: Scope) -> Response | None:
        if any(self._is_secret(line) for line in Headers(scope=scope).getlist("cookie")):
            return None
        return PlainTextResponse("open the link that `curvestop dashboard` printed\n", 401)

    def _is_secret(self, line: str) -> bool:
        try:
            morsel = SimpleCookie(line).get(self._cookie)
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self._secret.encode())


def _name_of(host: str) -> str:
    """The host of `HOST`, `HOST:PORT` or `[::1]:PORT`, lower case; ports may be others where a tunnel leads here."""
    if host.startswith("["):
        return host[1 : host.find("]")].lower()
    return host.partition(":")[0].lower()
