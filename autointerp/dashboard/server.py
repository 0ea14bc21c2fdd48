"""The live site: pages and payloads over HTTP, on this machine alone unless told otherwise."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from autointerp.dashboard.pages import pages
from autointerp.dashboard.run import Run
from autointerp.dashboard.site import POLICY, as_bytes, asset_names, index_html, site
from autointerp.errors import AutointerpError, UsageError

log = logging.getLogger(__name__)
LOCAL = ("127.0.0.1", "localhost", "::1")
COOKIE = "autointerp-token"
MOST_BODY = 4 << 20
"""Bytes that a browser may post."""
HEADERS = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ENTRY = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>autointerp: token</title>
<link rel="stylesheet" href="assets/style.css"></head><body><main class="entry card"><h1>autointerp</h1>
<p>This dashboard asks for the token that <code>autointerp dashboard</code> printed where it was started.</p>
<form method="get" action="./"><label>Token <input class="input" name="token" type="password" autofocus></label>
<button class="button primary">Open</button></form></main></body></html>"""
RUNS = web.AppKey("runs", dict)
TOKEN = web.AppKey("token", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(runs: Sequence[Run], *, token: str = "", local: bool = True) -> web.Application:
    """The site of some runs.

    Parameters
    ----------
    token : who asks must know it; nobody is asked where it is empty.
    local : answer only to names of this machine, so that no other site can reach it through a name of its own.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        return _refused(request, token, local) or await _answered(request, handler)

    async def sealed(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    app = web.Application(middlewares=[guard], client_max_size=MOST_BODY)
    app.on_response_prepare.append(sealed)
    app[RUNS] = {run.slug: run for run in runs}
    app[TOKEN] = token
    app.router.add_get("/", _index)
    app.router.add_get("/assets/{name:.+}", _asset)
    app.router.add_get("/data/site", _site)
    app.router.add_get("/favicon.ico", _favicon)
    for page in pages().values():
        for name, payload in page.payloads.items():
            app.router.add_get("/data/{run}/" + name, _payload(payload))
        for name, action in page.actions.items():
            app.router.add_post("/act/{run}/" + name, _action(action))
    return app


def _refused(request: web.Request, token: str, local: bool) -> web.Response | None:
    """What to answer to who may not see the site; None for who may."""
    if local and (urlsplit(f"//{request.host}").hostname or "") not in LOCAL:
        return web.Response(status=403, text="this dashboard answers to 127.0.0.1 and localhost only")
    if not token or request.path == "/assets/style.css":
        return None
    given = request.query.get("token", "")
    if given and _same(given, token):
        answer = web.Response(status=303, headers={"Location": "./"})
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
        return answer
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if _same(request.cookies.get(COOKIE, ""), token) or _same(bearer, token):
        return None
    if request.path == "/":
        return web.Response(status=401, text=ENTRY, content_type="text/html")
    return web.Response(status=401, text="a token is needed: open the address that autointerp dashboard printed")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer; our own errors as a sentence."""
    try:
        return await handler(request)
    except UsageError as error:
        return _error(404 if request.method == "GET" else 400, str(error))
    except AutointerpError as error:
        return _error(500, str(error))
    except web.HTTPException:
        raise
    except Exception as error:
        log.exception("%s %s", request.method, request.path)
        return _error(500, f"{type(error).__name__}: {error}")


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"error": message}), content_type="application/json")


async def _index(request: web.Request) -> web.Response:
    return web.Response(text=index_html(live=True), content_type="text/html")


async def _favicon(request: web.Request) -> web.Response:
    return await _asset_named("icon.svg")


async def _asset(request: web.Request) -> web.Response:
    return await _asset_named(request.match_info["name"])


async def _asset_named(name: str) -> web.Response:
    if name not in asset_names():
        raise web.HTTPNotFound(text=f"no asset {name}")
    body = await asyncio.to_thread((files("autointerp.dashboard") / "assets" / name).read_bytes)
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    kind = kinds.get(name.rpartition(".")[2], "application/octet-stream")
    return web.Response(body=body, content_type=kind, charset="utf-8")


async def _site(request: web.Request) -> web.Response:
    return _json(await asyncio.to_thread(site, list(request.app[RUNS].values()), live=True))


def _payload(make: Callable[..., Any]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        parts = dict(request.match_info)
        run = _run(request, parts.pop("run"))
        return _json(await asyncio.to_thread(make, run, **parts))

    return answer


def _action(act: Callable[[Run, dict[str, Any]], Any]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        # a form of another site can post, but neither this kind of body nor this header
        if request.content_type != "application/json" or "X-Autointerp" not in request.headers:
            raise UsageError("post JSON with the header X-Autointerp")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise UsageError(f"the body is no JSON: {error}") from None
        if not isinstance(body, dict):
            raise UsageError("the body must be a JSON object")
        return _json(await asyncio.to_thread(act, _run(request, request.match_info["run"]), body))

    return answer


def _run(request: web.Request, slug: str) -> Run:
    runs = request.app[RUNS]
    if slug not in runs:
        raise UsageError(f"no run {slug!r}; valid: {', '.join(runs)}")
    return runs[slug]


def _json(value: Any) -> web.Response:
    return web.Response(body=as_bytes(value), content_type="application/json", charset="utf-8")
