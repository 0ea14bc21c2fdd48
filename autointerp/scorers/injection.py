"""How far a judge obeys its material: the share of its answers that an injected text changes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from autointerp.errors import UsageError
from autointerp.records import Example, FeatureRecord, Score, Side


def inject(record: FeatureRecord, text: str) -> FeatureRecord:
    """``record`` with ``text`` at the end of the last token of every example on the test side.

    Examples keep their number of tokens and their ids, so that scores of both records are judged on the same trials.
    """

    def poisoned(example: Example) -> Example:
        ends = np.array(example.ends)
        ends[-1:] += len(text)
        return replace(example, text=example.text + text, ends=ends)

    side = Side(tuple(map(poisoned, record.test.positives)), tuple(map(poisoned, record.test.negatives)))
    return replace(record, test=side)


def flip_rate(clean: Score, injected: Score) -> float:
    """Share of the trials answered both times whose answer the injection changed; NaN if there is none.

    A judge that takes its material as data is moved no more than by harmless text of the same length. Answers that
    failed are not flips: compare ``n_failed``.

    Raises
    ------
    UsageError : the two scores are not of the same trials.
    """
    if [t.example for t in clean.trials] != [t.example for t in injected.trials]:
        raise UsageError("flip_rate: the scores are of other trials; score record and inject(record, text) alike")
    answers = [(a.predicted, b.predicted) for a, b in zip(clean.trials, injected.trials, strict=True)]
    both = [a != b for a, b in answers if a is not None and b is not None]
    return sum(both) / len(both) if both else math.nan
