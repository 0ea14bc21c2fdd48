"""Requests to an LLM and to models in this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import orjson

from autointerp.records.features import Example


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The structured question behind a request's messages, for backends that answer by computing.

    Attributes
    ----------
    kind : ``"explain"``, or the name of the scorer that asks.
    examples : what is shown, in the order of the messages; blind for judges.
    negatives : non-activating contexts, for ``explain``.
    marks : per example, the indices of its marked tokens, for ``fuzzing``.
    explanation : the explanation to judge by.
    texts : texts to choose between, for ``intervention``.
    wanted : texts to write, for ``generation``. modality : what kind of texts.
    """

    kind: str
    examples: Sequence[Example]
    negatives: tuple[Example, ...] = ()
    marks: tuple[tuple[int, ...], ...] = ()
    explanation: str = ""
    level: str = "token"
    texts: tuple[str, ...] = ()
    wanted: int = 0
    modality: str = ""

    def digest(self) -> str:
        """Hash of everything in the task that can change an answer."""
        state = hashlib.blake2b(f"{self.kind}\0{self.level}\0{self.marks}\0{self.explanation}".encode(), digest_size=16)
        if self.texts or self.wanted or self.modality:  # younger than the digests that studies hold
            state.update(repr((self.texts, self.wanted, self.modality)).encode("utf-8", "backslashreplace"))
        for example in (*self.examples, *self.negatives):
            place = f"\0{example.start}:{example.length}:{example.group}:{len(example.text)}:"
            state.update((place + example.text).encode("utf-8", "surrogatepass"))
            if example.metadata:
                state.update(repr(sorted(example.metadata.items())).encode("utf-8", "backslashreplace"))
            state.update(np.asarray(example.ends, np.int64).tobytes())
            state.update(np.asarray(example.activations, np.float32).tobytes())
        return f"{len(self.examples)}:{state.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to an LLM; immutable, so that every attempt sends the same bytes.

    Attributes
    ----------
    messages : the conversation; the system message, if any, first.
    max_tokens : bound on the answer's length in tokens.
    temperature : 0 … 2, or None for the provider's default.
    schema : JSON schema of the answer, used natively where the backend can and described in the messages anyway.
    choices : the only answers, of one token each, whose probabilities are wanted; for backends with ``logprobs``.
    placeholder : the word that stands in the last message, behind a tab, wherever one of ``choices`` would: their
        probabilities at each of these places are wanted, and no answer; for backends with ``prompt_logprobs``.
    replicate : distinguishes repeated samples of one question.
    task : the structured question behind the messages, for backends that answer by computing (``baseline``); part of
        the cache key for those only.
    tag : what the request is for (``"explain"``, ``"detection"``), for accounting; never part of the key.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float | None = 0.0
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    placeholder: str = ""
    replicate: int = 0
    task: Task | None = field(default=None, compare=False, repr=False)
    tag: str = field(default="", compare=False)

    @property
    def beginning(self) -> str:
        """What requests of one kind share: the system messages."""
        return "\n\n".join(message.content for message in self.messages if message.role == "system")

    def key(self, identity: str, *, with_task: bool = False) -> str:
        """SHA-256 of everything that can change the answer, given ``identity`` (provider, model, version)."""
        value: dict[str, Any] = {
            "identity": identity,
            "messages": [[m.role, m.content] for m in self.messages],
            "max_tokens": self.max_tokens,
            # as a text, because the order of its properties is the order in which a model fills them
            "schema": None if self.schema is None else _plain_json(orjson.dumps(self.schema)),
            "replicate": self.replicate,
        }
        if self.choices:
            value["choices"] = self.choices
        if self.placeholder:
            value["placeholder"] = self.placeholder
        if with_task and self.task is not None:
            value["task"] = self.task.digest()
        try:
            data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # a lone surrogate; the same bytes otherwise, and ten times as long to make
            text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            data = text.encode("utf-8", "surrogatepass")
        # by itself, for orjson writes small numbers in another way; it comes last in the order of names
        heat = json.dumps(None if self.temperature is None else float(self.temperature))
        return hashlib.sha256(data[:-1] + f',"temperature":{heat}}}'.encode()).hexdigest()


@lru_cache(maxsize=256)
def _plain_json(data: bytes) -> str:
    """JSON in ASCII, as ``json`` writes it."""
    return json.dumps(orjson.loads(data), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts whose embeddings are wanted from the run's embedder: (n_texts, d) float32 of unit length.

    ``role`` is ``query`` for an explanation and ``passage`` for what it is compared with; some embedders differ.
    """

    texts: tuple[str, ...]
    role: str = "passage"


@dataclass(frozen=True, slots=True)
class LossRequest:
    """Texts whose tokens' losses after ``prefix`` are wanted from the run's base model: (n_tokens,) nats of each."""

    prefix: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActivationRequest:
    """Texts that the subject is to read: for each the activations of ``feature``, a (n_tokens,) float32 array.

    At level ``sequence`` one number a text. None stands for a text that the subject cannot read.
    """

    feature: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SteerRequest:
    """What the subject makes of some texts when it is steered along a feature, and along a random direction.

    Attributes
    ----------
    texts : beginnings that a causal model continues; sequences of which a masked model fills in some residues.
    kl : mean Kullback–Leibler divergence from the clean predictions, nats a token, to which the strengths are tuned.
    n_tokens : tokens of a continuation. share : of a masked model's residues that are filled in.
    seed : of the random direction, the residues filled in and the sampling.
    """

    feature: int
    texts: tuple[str, ...]
    kl: float
    n_tokens: int = 32
    share: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LogitRequest:
    """Which tokens a feature makes likelier and unlikelier: its direct effect on the subject's logits.

    The outcome holds ``promoted`` and ``suppressed``, lists of at most ``top`` (token, change of its logit): those
    that rise and those that fall, the largest changes first.

    Attributes
    ----------
    texts : what the subject reads for the mean state that the direction is added to. scale : the activation added.
    """

    feature: int
    texts: tuple[str, ...]
    scale: float
    top: int = 10


LocalRequest: TypeAlias = EmbedRequest | LossRequest | ActivationRequest | SteerRequest | LogitRequest
"""A question to a model in this process, which a plan may put in the same round as requests to an LLM."""


def conversation(system: str, turns: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    """A conversation from a system text and (role, content) turns."""
    return (Message("system", system), *(Message(role, content) for role, content in turns))
