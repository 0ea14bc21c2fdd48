from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autointerp.clients import ModelSpec, Scripted, connect
from autointerp.errors import FormatError, UsageError
from autointerp.records import NotSent, Request, Response, Usage
from autointerp.store import RunStore

Ask = Callable[..., Request]
PAID = "anthropic/claude-haiku-4-5"


async def record(folder: Path, spec: str, requests: dict[str, Request]) -> None:
    """A store with answers that ``spec`` was paid for."""

    def answer(request: Request) -> Response:
        return Response(request.messages[-1].content.upper(), Usage(10, 2), 0.5)

    backend = Scripted(answer)
    backend.spec = ModelSpec.parse(spec)
    with RunStore.open(folder) as store:
        async with connect(backend, store=store) as client:
            for request in requests.values():
                await client.generate(request)
        assert store.spend().confirmed_usd > 0


@pytest.mark.parametrize("name", ["run", "run/run.db"])
@pytest.mark.parametrize("options", ["", f"?as={PAID}", f"?as=batch+{PAID}"])
async def test_answers_come_from_the_store_free_of_charge(tmp_path: Path, ask: Ask, name: str, options: str) -> None:
    await record(tmp_path / "run", PAID, {"a": ask("a"), "b": ask("b", temperature=0.5)})
    with RunStore.open(tmp_path / "again") as store:
        async with connect(f"replay/{tmp_path}/{name}{options}", store=store, budget_usd=0.0) as client:
            assert (await client.generate(ask("a"))).text == "A"
            again = await client.generate(ask("b", temperature=0.5))
            assert (again.text, again.cost_usd, again.usage) == ("B", 0.0, Usage(10, 2))
            missing = await client.generate(ask("b"))
            assert isinstance(missing, NotSent)
            assert (missing.kind, missing.retryable) == ("missing", False)
            assert PAID in missing.message
        assert store.spend().total_usd == 0.0
        key = ask("a").key(ModelSpec.parse(PAID).identity)
        assert store.get_response(key).text == "A", "the real client finds what was replayed"


async def test_whose_answers_is_asked_where_there_are_several(tmp_path: Path, ask: Ask) -> None:
    await record(tmp_path, PAID, {"a": ask("a")})
    await record(tmp_path, "openai/gpt-4o-mini?seed=3", {"b": ask("b")})
    with pytest.raises(UsageError, match=r"claude-haiku-4-5, openai/gpt-4o-mini\?seed=3.*\?as=SPEC"):
        connect(f"replay/{tmp_path}")
    async with connect(f"replay/{tmp_path}?as=openai/gpt-4o-mini?seed=3") as client:
        assert (await client.generate(ask("b"))).text == "B"
        assert (await client.generate(ask("a"))).kind == "missing"
        assert ModelSpec.parse(client.spec.text) == client.spec


async def test_a_baseline_is_replayed_by_its_tasks(tmp_path: Path) -> None:
    from autointerp.records import Message, Task

    request = Request((Message("user", "explain"),), task=Task("explain", ()))
    with RunStore.open(tmp_path) as store:
        paid = await connect("baseline", store=store).generate(request)
    async with connect(f"replay/{tmp_path}") as client:
        assert client.spec.identity == "baseline"
        assert client.capabilities.tasks
        assert (await client.generate(request)) == paid


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"run\.db"):
        connect(f"replay/{tmp_path}/nothing?as={PAID}")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(UsageError, match="as='antropic/m'"):
        ModelSpec.parse("replay/run?as=antropic/m")
