"""Detection: does the judge, given the explanation, tell texts in which the feature fires from silent ones?

Definition: balanced accuracy over held-out activating contexts and non-activating ones, shown without marks
(Paulo et al. 2024, arXiv 2410.13928, "detection").
"""

from __future__ import annotations

from dataclasses import dataclass

from autointerp.prompts import render
from autointerp.records import Explanation, FeatureRecord, Plan, Score
from autointerp.scorers.classification import TEXTS, Item, Judging
from autointerp.scorers.registry import scorer

SYSTEM = """You judge whether texts contain what an explanation describes. The explanation says what a feature of a \
model responds to; the texts are {texts}. The marks [start] and [end] show the ends of a sequence."""
ACTIVE = "the feature would fire somewhere in it"


@scorer("detection")
@dataclass(frozen=True)
class DetectionScorer(Judging):
    """Balanced accuracy of telling activating contexts from silent ones."""

    NAME, VERSION = "detection", 2

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """Judge every example of the test side."""
        items = [Item(e, render(e), True) for e in record.test.positives]
        items += [Item(e, render(e), False) for e in record.test.negatives]
        system = SYSTEM.format(texts=TEXTS[record.modality])
        return (yield from self.judge(record, explanation, items, system=system, active=ACTIVE))
