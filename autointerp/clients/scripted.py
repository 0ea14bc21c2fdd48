"""A backend whose answers are written beforehand: for tests and for trying a pipeline out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autointerp.clients.backend import Limits, client
from autointerp.clients.spec import ModelSpec
from autointerp.errors import UsageError
from autointerp.records import Capabilities, Failure, Outcome, Request, Response


@client("scripted")
class Scripted:
    """Answers from a script; ``scripted?answer=TEXT`` as a model string gives every request the same answer.

    Parameters
    ----------
    answers : a function of the request, or texts (and outcomes) given in the order of the calls. A parsed model string
        when made by :func:`~autointerp.clients.connect`.

    Attributes
    ----------
    calls : requests answered so far.
    """

    options: Mapping[str, Callable[[str], Any]] = {"answer": str}
    capabilities = Capabilities(schema=True, free=True)

    def __init__(
        self,
        answers: Callable[[Request], str | Outcome] | Sequence[str | Outcome] | ModelSpec,
        *,
        limits: Limits | None = None,
        api_key: str | None = None,
    ) -> None:
        self.spec = answers if isinstance(answers, ModelSpec) else ModelSpec("scripted")
        self.calls = 0
        if isinstance(answers, ModelSpec):
            text = answers.answer_options().get("answer")
            if text is None:
                raise UsageError("scripted needs a script: connect(Scripted([…])), or scripted?answer=TEXT")
            self._answer: Callable[[Request], str | Outcome] = lambda request: text
        elif callable(answers):
            self._answer = answers
        else:
            script = list(answers)
            self._answer = lambda request: (
                script[self.calls - 1]
                if self.calls <= len(script)
                else Failure("internal", f"the script has {len(script)} answers, and this is call {self.calls}")
            )

    async def generate(self, request: Request) -> Outcome:
        """The next answer of the script."""
        self.calls += 1
        answer = self._answer(request)
        return Response(answer, cost_usd=0.0, model="scripted") if isinstance(answer, str) else answer

    async def aclose(self) -> None:
        """Nothing to close."""
