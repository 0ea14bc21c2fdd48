"""``replay/PATH[?as=SPEC]``: answers from the store of an earlier run, and from nowhere else; spends nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.clients.backend import client
from autointerp.clients.spec import BATCH, ModelSpec
from autointerp.errors import UsageError
from autointerp.records import Capabilities, NotSent, Outcome, Request

if TYPE_CHECKING:
    from autointerp.store import RunStore


def spec_text(text: str) -> str:
    """Check a model string; a ``+`` in a query reads as a blank."""
    text = text.replace("batch ", BATCH, 1) if text.startswith("batch ") else text
    return ModelSpec.parse(text).text


@client("replay")
class Replay:
    """The answers that ``run.db`` (or the run folder that holds it) has for another model string.

    ``as`` is the string of the client that was paid for them; it may be left away where the run used one. What is not
    there is a failure of kind ``missing``, and is not asked anywhere.
    """

    options: Mapping[str, Callable[[str], Any]] = {"as": spec_text}
    capabilities = Capabilities(schema=True, logprobs=True, prompt_logprobs=True, free=True)
    needs_model = True
    own_pace = True

    def __init__(self, spec: ModelSpec, **_: object) -> None:
        from autointerp.store import RunStore

        path = Path(spec.model).expanduser()
        self._store = RunStore.open(path.parent if path.name == "run.db" else path, readonly=True)
        if "as" not in dict(spec.options):
            name = only_spec(self._store, spec.model)
            spec = replace(spec, options=tuple(sorted((*spec.options, ("as", name)))))
        self.spec, original = spec, self.stands_for(spec)
        self.version = getattr(original.backend, "version", "")
        tasks = getattr(getattr(original.backend, "capabilities", None), "tasks", False)
        self.capabilities = replace(type(self).capabilities, tasks=tasks)
        self._identity = original.identity + (f"#{self.version}" if self.version else "")

    @staticmethod
    def stands_for(spec: ModelSpec) -> ModelSpec:
        """The model string whose answers are replayed; the cache keys are those of its answers."""
        return ModelSpec.parse(spec.answer_options()["as"])

    async def generate(self, request: Request) -> Outcome:
        """The stored answer, free of charge."""
        answer = self._store.get_response(request.key(self._identity, with_task=self.capabilities.tasks))
        if answer is None:
            return NotSent("missing", f"{self.spec.model} holds no answer of {self._identity} to this request")
        return replace(answer, cost_usd=0.0, cached=False)

    async def aclose(self) -> None:
        """Nothing to close: the store was opened for reading and may be read again."""


def only_spec(store: RunStore, name: str) -> str:
    """The one model string whose answers a store holds.

    Raises
    ------
    UsageError : there are several, or none.
    """
    specs = {ModelSpec.parse(text).identity: text for text, spend in store.spend_by_model().items() if spend.answers}
    if len(specs) != 1:
        found = ", ".join(sorted(specs.values())) or "no answer"
        raise UsageError(f"replay/{name} holds {found}: say whose answers you want with ?as=SPEC")
    return next(iter(specs.values()))
