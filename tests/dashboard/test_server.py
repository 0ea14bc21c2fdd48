"""The live site over HTTP: what it answers, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from autointerp.commands import main
from autointerp.commands.dashboard import Config, serve
from autointerp.dashboard import make_app
from autointerp.dashboard.run import Run
from autointerp.dashboard.site import scripts_and_styles
from autointerp.errors import UsageError
from tests.dashboard.planted import N_FEATURES, planted, run

__all__ = ["planted", "run"]
TOKEN = "a token of this test"


@asynccontextmanager
async def client_of(run: Run, **settings: Any) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(make_app([run], **settings))) as client:
        yield client


async def test_the_page_names_every_script_and_each_is_there(run: Run) -> None:
    scripts, styles = scripts_and_styles()
    async with client_of(run) as client:
        page = await (await client.get("/")).text()
        for name in [*scripts, *styles, "icon.svg"]:
            assert f"assets/{name}" in page
            answer = await client.get(f"/assets/{name}")
            assert answer.status == 200
            assert answer.content_type in ("text/javascript", "text/css", "image/svg+xml")


async def test_payloads_come_as_json(run: Run) -> None:
    async with client_of(run) as client:
        site = await (await client.get("/data/site")).json()
        assert [one["slug"] for one in site["runs"]] == ["demo"]
        table = await (await client.get("/data/demo/table")).json()
        assert len(table["features"]) == N_FEATURES
        page = await (await client.get("/data/demo/feature/3")).json()
        assert page["feature"] == 3
        status = await (await client.get("/data/demo/status")).json()
        assert status["explained"] == 8


@pytest.mark.parametrize(
    "path",
    ["/data/nosuch/table", "/data/demo/feature/abc", "/data/demo/feature/999999", "/assets/run.py", "/assets/../run.py",
     "/assets/%2e%2e%2frun.py", "/data/demo/nosuch", "/etc/passwd"],
)  # fmt: skip
async def test_what_is_not_there_is_404(run: Run, path: str) -> None:
    async with client_of(run) as client:
        assert (await client.get(path)).status == 404


async def test_every_answer_has_a_strict_policy(run: Run) -> None:
    async with client_of(run) as client:
        for path in ("/", "/data/site", "/assets/core.js", "/assets/none.js", "/data/demo/feature/abc"):
            headers = (await client.get(path)).headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["X-Content-Type-Options"] == "nosniff"


async def test_another_name_for_this_machine_is_refused(run: Run) -> None:
    async with client_of(run) as client:
        assert (await client.get("/data/site", headers={"Host": "evil.example"})).status == 403
        assert (await client.get("/data/site", headers={"Host": "localhost:1"})).status == 200
    async with client_of(run, local=False, token=TOKEN) as client:
        assert (await client.get("/data/site", headers={"Host": "lab.example"})).status == 401


async def test_a_token_is_asked_for_and_kept_in_a_cookie(run: Run) -> None:
    async with client_of(run, token=TOKEN) as client:
        for path in ("/", "/data/site", "/data/demo/table", "/assets/core.js"):
            assert (await client.get(path)).status == 401
        assert 'name="token"' in await (await client.get("/")).text()
        assert (await client.get("/", params={"token": "wrong"})).status == 401
        answer = await client.get("/", params={"token": TOKEN}, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "./")
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert "SameSite=Strict" in answer.headers["Set-Cookie"]
        assert TOKEN not in answer.headers["Set-Cookie"] or answer.cookies["autointerp-token"].value == TOKEN
        assert (await client.get("/data/site")).status == 200
    async with client_of(run, token=TOKEN) as client:
        assert (await client.get("/data/site", headers={"Authorization": f"Bearer {TOKEN}"})).status == 200


@pytest.mark.parametrize(
    "send",
    [
        lambda c: c.post("/act/demo/note", data={"feature": "1"}),
        lambda c: c.post("/act/demo/note", json={"feature": 1}),
        lambda c: c.post(
            "/act/demo/note", data="[1]", headers={"X-Autointerp": "1", "Content-Type": "application/json"}
        ),
        lambda c: c.post("/act/demo/note", data="{", headers={"X-Autointerp": "1", "Content-Type": "application/json"}),
    ],
)
async def test_a_form_of_another_site_cannot_act(run: Run, send: Callable[[Any], Any]) -> None:
    async with client_of(run) as client:
        answer = await send(client)
        assert answer.status == 400
        assert (await answer.json())["error"]


async def test_an_address_that_others_reach_needs_a_token(run: Run) -> None:
    with pytest.raises(UsageError, match="token"):
        await serve([run], Config(runs=(run.folder,), host="0.0.0.0", token="", open=False))


def test_wrong_usage(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard"]) == 2
    assert main(["dashboard", str(run.folder / "nosuch"), "--no-open"]) == 1
    assert "no run.db" in capsys.readouterr().err
    assert main(["dashboard", str(run.folder), "--port", "99999"]) == 2
    assert "65535" in capsys.readouterr().err
