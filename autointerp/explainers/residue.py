"""The residue explainer: which residues of a protein activate a feature, and what is annotated there.

InterPLM's protocol (Simon & Zou 2025, Nature Methods, "LLM feature descriptions"): for every protein what is known of
it, its largest activation in tenths of the feature's, positions and identities of the activated residues; here also the
annotated regions that these residues fall into, and the window around the peak with the activated residues marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.explainers.asking import PLAIN, PLAIN_SCHEMA, REASONED, REASONED_SCHEMA, ask_for_explanation
from autointerp.explainers.registry import explainer
from autointerp.plans import named
from autointerp.prompts import CLOSE, FENCED, OPEN, fenced, known, one_line, render
from autointerp.records import Example, Explanation, FeatureRecord, Message, Plan, Request, Task

VERSION = 1
SYSTEM = f"""You are an expert in protein sequence and structure. A feature of a protein language model fires on some \
residues and is silent on all others. For one feature you are shown proteins, each with what is known of it, the \
feature's largest activation in it (0 to 1), the residues on which it fires with their positions, the annotated \
regions they fall into, and the window around the strongest one in one-letter code, activated residues between {OPEN} \
and {CLOSE}; [start] and [end] show the ends of a protein. Then come proteins in which it is silent.
State what the feature responds to: residues, motifs, secondary structure, sites, domains, families, position in the \
chain, and where in these it fires. Be specific and brief, one sentence if you can. What most of the proteins share \
says more than what one of them has; distrust what the silent ones have too.
{{fenced}}
Answer with JSON: {{answer}}"""


@explainer("residue")
@dataclass(frozen=True)
class ResidueExplainer:
    """Explain a feature of a protein model from activated residues and what is annotated there, in one request."""

    threshold: float = 0.5
    """Residues above this share of the context's own peak count as activated."""
    silent: int = 10
    """Silent proteins shown, at most."""
    residues: int = 8
    """Activated residues listed of a protein, the strongest."""
    cot: bool = False
    """Ask for a chain of thought before the explanation."""
    max_tokens: int = 400
    """Bound on the answer; a chain of thought gets four times as much."""

    levels = ("token",)
    modalities = ("protein",)

    @property
    def id(self) -> str:
        """``residue@version`` and every setting that differs from its default."""
        return named(self, "residue", VERSION)

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request with the explain side's proteins, the strongest first.

        Raises
        ------
        UsageError : the record is not of proteins, or of level ``sequence``.
        """
        if record.modality != "protein":
            raise UsageError("residue explains by residues: this corpus holds text; take default or contrastive")
        if record.level == "sequence":
            raise UsageError("residue needs a cache of level token; for level sequence take protein-metadata")
        form = REASONED if self.cot else PLAIN
        return ask_for_explanation(record, self.id, partial(self._request, record, form), form)

    def _request(self, record: FeatureRecord, form: str, examples: Sequence[Example]) -> Request:
        top = record.statistics.max or 1.0
        share = len(examples) / max(len(record.explain.positives), 1)
        silent = record.explain.negatives[: round(self.silent * share)]
        ordered = sorted(examples, key=lambda e: -e.peak)
        proteins = [self._protein(i, e, top) for i, e in enumerate(ordered, 1)]
        shown = "It fires in:\n" + fenced("\n".join(proteins))
        if silent:
            others = [one_line("; ".join([f"Protein {i}", *known(e.metadata)])) for i, e in enumerate(silent, 1)]
            shown += "\n\nIt is silent in:\n" + fenced("\n".join(others))
        return Request(
            messages=(
                Message("system", SYSTEM.format(fenced=FENCED, answer=form)),
                Message("user", shown),
            ),
            max_tokens=self.max_tokens * (4 if self.cot else 1),
            schema=REASONED_SCHEMA if self.cot else PLAIN_SCHEMA,
            task=Task("explain", tuple(examples), record.explain.negatives, level=record.level),
            tag="explain",
        )

    def _protein(self, number: int, example: Example, top: float) -> str:
        """A protein in a few lines."""
        active = np.flatnonzero(example.activations > self.threshold * example.peak)
        strongest = np.sort(active[np.argsort(-example.activations[active], kind="stable")[: self.residues]])
        places = (strongest + example.start).tolist()
        residues = [f"{example.text[p - example.start]}{p + 1}" for p in places]
        head = [f"Protein {number}", f"{example.length} residues", *known(example.metadata)]
        lines = [
            one_line("; ".join(head)),
            f"  largest activation {tenths(example.peak / top)}, at {', '.join(residues)}",
            *([f"  annotated there: {'; '.join(regions)}"] if (regions := annotated(example.metadata, places)) else []),
            f"  window: {render(example, set(active.tolist()))}",
        ]
        return "\n".join(lines)


def tenths(share: float) -> str:
    """A share of the feature's maximum as the bin it falls into, ``0.8–0.9``; the maximum falls into the last."""
    low = min(int(10 * share), 9)
    return f"{low / 10:.1f}–{(low + 1) / 10:.1f}"


def annotated(metadata: Mapping[str, Any], places: Sequence[int]) -> list[str]:
    """Every annotated region that holds one of ``places`` (0-based): type, label and extent, 1-based."""
    regions = getattr(metadata, "annotations", ())
    found = []
    for region in regions:
        if any(region["start"] <= place < region["end"] for place in places):
            first, last = region["start"] + 1, region["end"]
            where = f"{first}" if first == last else f"{first}–{last}"
            label = "" if region["label"] in ("", "any") else f" ({region['label']})"
            found.append(one_line(f"{region['type']}{label} {where}"))
    return list(dict.fromkeys(found))
