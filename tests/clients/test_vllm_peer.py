"""A real third-party server and engine: vLLM serving a tiny Llama with random weights. ``make test-vllm`` runs this."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from autointerp.clients import connect
from autointerp.clients.connect import ConnectedClient
from autointerp.pipeline.pipes import drive
from autointerp.records import Explanation, Failure, Message, Request, Response
from autointerp.scorers import DetectionScorer
from tests.studies import record

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCHEMA = {
    "type": "object",
    "properties": {
        "answers": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 1},
            "minItems": 5,
            "maxItems": 5,
        }
    },
    "required": ["answers"],
    "additionalProperties": False,
}
WIRES = ("openai", "anthropic", "vllm")


def ask(text: str, **fields: Any) -> Request:
    return Request((Message("system", "Answer in one word."), Message("user", text)), **fields)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model."""
    from tests.clients.vllm_peer import make

    folder = tmp_path_factory.mktemp("vllm") / "tiny"
    make(folder)
    return folder


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of vLLM's own server, without ``/v1``."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port),
               "--host", "127.0.0.1", "--served-model-name", "tiny", "--max-model-len", "8192", "--enforce-eager",
               "--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}']  # fmt: skip
    log = tmp_path_factory.mktemp("log") / "server.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 400
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert process.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < deadline, log.read_text()[-4000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(server: str, model: Path) -> AsyncIterator[dict[str, ConnectedClient]]:
    """One client for each way to the same weights."""
    made = {
        "openai": connect(f"openai/tiny@{server}/v1"),
        "anthropic": connect(f"anthropic/tiny@{server}"),
        "vllm": connect(f"vllm/{model}?context=8192&eager=true&memory=0.2"),
    }
    try:
        yield made
    finally:
        for one in made.values():
            await one.aclose()


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_and_its_usage(wire: str, clients: dict[str, ConnectedClient]) -> None:
    answer = await clients[wire].generate(ask("hello", max_tokens=6))
    assert isinstance(answer, Response), answer
    assert answer.usage is not None
    assert (answer.finish, answer.usage.output_tokens, answer.cost_usd) == ("length", 6, 0.0)
    assert answer.usage.input_tokens > 10


async def test_three_ways_to_the_same_weights_give_the_same_text(clients: dict[str, ConnectedClient]) -> None:
    requests = [ask(f"what is feature {i}?", max_tokens=12) for i in range(8)]
    texts = {
        wire: [o.text for o in await asyncio.gather(*(client.generate(request) for request in requests))]
        for wire, client in clients.items()
    }
    assert texts["openai"] == texts["vllm"]
    assert texts["anthropic"] == texts["vllm"]
    assert len(set(texts["vllm"])) > 1


@pytest.mark.parametrize("wire", WIRES)
async def test_a_schema_is_obeyed_by_sixty_requests_at_once(wire: str, clients: dict[str, ConnectedClient]) -> None:
    requests = [ask(f"judge {i}", max_tokens=60, schema=SCHEMA) for i in range(60)]
    outcomes = await asyncio.gather(*(clients[wire].generate(request) for request in requests))
    for outcome in outcomes:
        assert isinstance(outcome, Response), outcome
        if wire == "anthropic":  # its schemas have no bounds, so that random weights may go on for ever
            assert outcome.text.startswith('{"answers":[')
        else:
            bits = json.loads(outcome.text)["answers"]
            assert len(bits) == 5
            assert set(bits) <= {0, 1}


async def test_probabilities_of_choices_are_those_of_the_model(
    clients: dict[str, ConnectedClient], model: Path
) -> None:
    """Against the model itself, by transformers, in full precision."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, net = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model).float()
    for number in range(5):
        request = ask(f"is it {number}?", choices=("0", "1"))
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tokenizer.encode(text, add_special_tokens=False)
        with torch.no_grad():
            logits = net(torch.tensor([ids])).logits[0, -1]
        wanted = logits[[tokenizer.convert_tokens_to_ids(choice) for choice in ("0", "1")]].softmax(0).tolist()
        answer = await clients["vllm"].generate(request)
        assert isinstance(answer, Response), answer
        assert answer.probabilities is not None
        assert list(answer.probabilities) == ["0", "1"]
        assert list(answer.probabilities.values()) == pytest.approx(wanted, abs=0.02)
        assert answer.text == max(answer.probabilities, key=lambda choice: answer.probabilities[choice])


@pytest.mark.parametrize("wire", WIRES)
async def test_a_prompt_that_is_too_long_is_named_so(wire: str, clients: dict[str, ConnectedClient]) -> None:
    outcome = await clients[wire].generate(ask("x1" * 9000))
    assert isinstance(outcome, Failure), outcome
    assert (outcome.kind, outcome.retryable) == ("context_length", False)


async def test_one_string_is_swapped_and_the_results_have_one_form(clients: dict[str, ConnectedClient]) -> None:
    feature = record(3, n=10)
    explanation = Explanation(3, "feature 3", "default@2")
    everyone = {"openai": clients["openai"], "vllm": clients["vllm"], "baseline": connect("baseline")}
    scorer = DetectionScorer(examples_per_prompt=1)  # random weights do not count
    scores = {name: await drive(scorer.score(feature, explanation), one) for name, one in everyone.items()}
    for score in scores.values():
        assert (score.n, score.n_failed, len(score.trials)) == (20, 0, 20)
        assert score.value is not None
        assert score.metrics.keys() == scores["baseline"].metrics.keys()
