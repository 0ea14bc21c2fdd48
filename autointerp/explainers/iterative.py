"""The iterative explainer: proposes several explanations, tests them itself, refines the best, and keeps the best.

Candidates are judged by detection on the validation side, which neither the proposals nor the final scores see, so that
choosing among them does not flatter the result. The best is shown what it got wrong there and asked to be corrected
(self-refinement as in Bills et al. 2023, section "revising explanations", and agentic explainers since).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autointerp.errors import UsageError
from autointerp.explainers.asking import PLAIN, ask_for_explanation
from autointerp.explainers.default import DefaultExplainer, marked_texts
from autointerp.explainers.registry import explainer
from autointerp.plans import named, side_by_side
from autointerp.prompts import fenced, numbered, one_line, render
from autointerp.records import (
    Example,
    Explanation,
    FeatureRecord,
    Message,
    Plan,
    Request,
    Score,
    Side,
)
from autointerp.scorers.detection import DetectionScorer

VERSION = 1
REVISE = """An explanation was proposed:
{explanation}
Tested on other examples, it missed some in which the feature fires:
{missed}
and it expected the feature in some where it is silent:
{expected}
Give a better explanation, which is right about these and about all examples above. Answer with JSON: {answer}"""
NONE = "(none)"


@explainer("iterative")
@dataclass(frozen=True)
class IterativeExplainer:
    """The best of several explanations and their corrections, by the explainer's own test on the validation side."""

    candidates: int = 3
    """Explanations proposed: the first at temperature 0, the others at 1."""
    rounds: int = 1
    """How often the best is corrected."""
    mistakes: int = 5
    """Mistakes of either kind that are shown for a correction, at most."""
    threshold: float = 0.3
    """Tokens above this share of the feature's largest shown activation are delimited."""
    max_tokens: int = 300
    """Bound on an answer."""

    needs_validation = True
    """The loader must give it a validation side."""

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.rounds < 0:
            raise UsageError(f"candidates {self.candidates}, rounds {self.rounds}: at least 1, at least 0")

    @property
    def id(self) -> str:
        """``iterative@version`` and every setting that differs from its default."""
        return named(self, "iterative", VERSION)

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """A round of proposals, one of tests, and two for each correction.

        ``details`` holds ``candidates``: the text of each and its balanced accuracy on the validation side.

        Raises
        ------
        UsageError : the record has no validation side.
        """
        if not record.validation.positives or not record.validation.negatives:
            raise UsageError(
                "iterative tests itself on a validation side, which this loader does not fill: give n_validation and a "
                "split with a share for it (command line: --n-validation)"
            )
        tried: list[tuple[Explanation, Score | None]] = []
        yield from self._try(record, self._proposals(record), tried)
        for _ in range(self.rounds):
            best = _best(tried)
            if best is None or best[1].value == 1:  # there is nothing to correct, or nothing to learn from
                break
            yield from self._try(record, [self._revision(record, *best)], tried)
        details = {"candidates": [{"text": e.text, "value": s.value if s else None} for e, s in tried]}
        best = _best(tried)
        if best is None:
            return replace(tried[0][0], details=dict(tried[0][0].details) | details)
        return replace(best[0], details=dict(best[0].details) | details)

    def estimated(self, record: FeatureRecord) -> list[Request]:
        """Every proposal, test and correction, as if all proposals differed and none was right."""
        base = DefaultExplainer(threshold=self.threshold, max_tokens=self.max_tokens)
        question = base.request(record)
        n = self.candidates + self.rounds
        held = replace(record, test=record.validation, validation=Side())
        asked = [replace(question, temperature=float(i > 0), replicate=i) for i in range(n)]
        for i in range(n):
            text = Explanation(record.feature, f"a sentence of the usual length that stands for candidate {i} " * 3, "")
            asked += [r for r in next(DetectionScorer().score(held, text), ()) if isinstance(r, Request)]
        return asked

    def _try(
        self, record: FeatureRecord, plans: Sequence[Plan[Explanation]], tried: list[tuple[Explanation, Score | None]]
    ) -> Plan[None]:
        """Ask for explanations and test each that is new; both go into ``tried``."""
        proposed = yield from side_by_side(plans)
        known = {e.text for e, _ in tried}
        fresh: dict[str, Explanation] = {}
        for explanation in proposed:
            if explanation.text and explanation.text not in known:
                fresh.setdefault(explanation.text, explanation)
            elif not explanation.text:
                tried.append((explanation, None))
        held = replace(record, test=record.validation, validation=Side())
        scores = yield from side_by_side([DetectionScorer().score(held, e) for e in fresh.values()])
        tried.extend(zip(fresh.values(), scores, strict=True))

    def _proposals(self, record: FeatureRecord) -> list[Plan[Explanation]]:
        base = DefaultExplainer(threshold=self.threshold, max_tokens=self.max_tokens)
        plans = []
        for i in range(self.candidates):

            def build(examples: Sequence[Example], i: int = i) -> Request:
                return replace(base.request(record, examples), temperature=float(i > 0), replicate=i)

            plans.append(ask_for_explanation(record, self.id, build, PLAIN))
        return plans

    def _revision(self, record: FeatureRecord, best: Explanation, score: Score) -> Plan[Explanation]:
        base = DefaultExplainer(threshold=self.threshold, max_tokens=self.max_tokens)
        by_id = {e.id: e for e in (*record.validation.positives, *record.validation.negatives)}
        wrong = [(t, by_id[t.example]) for t in score.trials if t.predicted is not None and t.predicted != t.truth]
        missed = [e for t, e in wrong if t.truth][: self.mistakes]
        expected = [e for t, e in wrong if not t.truth][: self.mistakes]
        words = REVISE.format(
            explanation=fenced(one_line(best.text)),
            missed=fenced(numbered(marked_texts(missed, self.threshold, record.level))) if missed else NONE,
            expected=fenced(numbered([render(e) for e in expected])) if expected else NONE,
            answer=PLAIN,
        )

        def build(examples: Sequence[Example]) -> Request:
            request = base.request(record, examples)
            # asked with the proposal as a turn of its own, the model would defend it
            system, shown = request.messages
            return replace(request, messages=(system, Message("user", f"{shown.content}\n\n{words}")))

        return ask_for_explanation(record, self.id, build, PLAIN)


def _best(tried: Sequence[tuple[Explanation, Score | None]]) -> tuple[Explanation, Score] | None:
    """The explanation of the highest balanced accuracy, the first of equals; None if none was tested."""
    tested = [(e, s) for e, s in tried if s is not None and s.value is not None]
    return max(tested, key=lambda pair: pair[1].value or 0.0, default=None)
