from __future__ import annotations

import itertools

import pytest

from autointerp.clients import ModelSpec, Scripted, connect
from autointerp.clients.backend import client
from autointerp.clients.capabilities import backends_with, capabilities_of, require
from autointerp.errors import ClientError
from tests.conftest import REPOSITORY

FREE = {"baseline": "baseline", "manual": "manual/prompts", "scripted": "scripted?answer=x"}


def test_a_lacking_capability_is_refused_by_naming_who_has_it() -> None:
    judge = connect("manual/prompts")
    with pytest.raises(ClientError) as caught:
        require(judge, {"logprobs"}, "scorer sequence@1")
    message = str(caught.value)
    assert message.startswith("scorer sequence@1 needs logprobs, which manual/prompts does not have; these have: ")
    named = set(message.partition("these have: ")[2].split(", "))
    assert "vllm" in named
    assert not named & {"anthropic", "manual", "baseline", "batch+anthropic", "replay"}
    require(connect(Scripted(["x"])), {"schema"}, "scorer x")


def test_what_nobody_has_is_said_so() -> None:
    with pytest.raises(ClientError, match="these have: no backend"):
        require(connect("manual/prompts"), {"telepathy"}, "scorer x")


@pytest.mark.parametrize("name", sorted(FREE))
def test_an_instance_can_no_more_than_its_class_says(name: str) -> None:
    most, has = capabilities_of(name), connect(FREE[name]).capabilities
    for field in ("schema", "logprobs", "prompt_logprobs", "tasks", "batch"):
        assert getattr(most, field) or not getattr(has, field), field


def test_every_backend_says_what_it_can() -> None:
    assert all(hasattr(client.get(name), "capabilities") for name in client.names())
    assert [name for name in client.names() if name.startswith("batch+")] == backends_with("batch")
    for name in ("batch+anthropic/m", "batch+openai/m"):
        assert ModelSpec.parse(name).backend.capabilities.batch


def table() -> list[list[str]]:
    """The cells of the manual's table of backends."""
    lines = (REPOSITORY / "docs" / "backends.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| string |"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0])
def test_the_manual_s_table_tells_the_truth(row: list[str]) -> None:
    spec = ModelSpec.parse(row[0].strip("`").replace("…", "model"))
    can = spec.backend.capabilities
    assert ("yes" if can.schema else "no") == row[2]
    if row[3] in ("yes", "no"):
        assert ("yes" if can.logprobs else "no") == row[3]
    if row[4] in ("nothing", "your GPU"):
        assert can.free
    if variable := getattr(spec.backend, "key_variable", None) if spec.url is None else None:
        assert variable in row[5] or row[5] == "the same"


def test_the_manual_s_table_has_every_backend() -> None:
    listed = {ModelSpec.parse(row[0].strip("`").replace("…", "model")) for row in table()}
    ours = {name for name in client.names() if client.get(name).__module__.startswith("autointerp.")}
    assert len(ours) > 8  # an experiment that other tests import has a backend of its own
    assert {("batch+" if spec.batch else "") + spec.provider for spec in listed} >= ours
