"""The protein-metadata explainer: from what is known of the proteins that activate a feature, and of others.

The protocol of Gujral, Bafna, Alm & Berger 2025 (PNAS, "Sparse autoencoders uncover biologically interpretable features
in protein language model representations"): for every protein its activation, protein and gene names, families and GO
terms, on request its sequence; first the activating ones, then silent ones; one sentence is asked for. Activations are
shares of the feature's maximum (theirs: scaled to 0 … 1 over all proteins, which is the same for a feature that is
silent somewhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from autointerp.errors import UsageError
from autointerp.explainers.asking import PLAIN, PLAIN_SCHEMA, ask_for_explanation
from autointerp.explainers.registry import explainer
from autointerp.plans import named
from autointerp.prompts import FENCED, METADATA, fenced, known, numbered, one_line
from autointerp.records import Example, Explanation, FeatureRecord, Message, Plan, Request, Task

VERSION = 1
SYSTEM = """You are an expert at interpreting the features of protein language models. For one feature you are shown \
proteins on which it is active, the strongest first, and proteins on which it is not, each with what is known of it. \
Activations go from 0 to 1.
Something in what is known of the proteins makes the feature fire: say what, in a single sentence. Be specific; name \
families, functions, processes, places or properties rather than single proteins.
{fenced}
Answer with JSON: {answer}"""


@explainer("protein-metadata")
@dataclass(frozen=True)
class ProteinMetadataExplainer:
    """Explain a feature from what is known of its proteins, in one request."""

    include_sequence: bool = False
    """Show the residues too."""
    silent: int = 15
    """Silent proteins shown, at most."""
    max_tokens: int = 300
    """Bound on the answer."""

    modalities = ("protein",)

    @property
    def id(self) -> str:
        """``protein-metadata@version`` and every setting that differs from its default."""
        return named(self, "protein-metadata", VERSION)

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request with the explain side's proteins.

        Raises
        ------
        UsageError : the record is not of proteins, or the corpus knows nothing of them.
        """
        if record.modality != "protein":
            raise UsageError("protein-metadata explains by what is known of proteins: this corpus holds text")
        columns = set(record.explain.positives[0].metadata) if record.explain.positives else set(METADATA)
        if not columns & set(METADATA):
            held = ", ".join(sorted(columns)) or "none"
            raise UsageError(
                f"protein-metadata: the corpus has none of the columns {', '.join(METADATA)} (it has: {held}); import "
                "it from a UniProt table that has them"
            )
        return ask_for_explanation(record, self.id, partial(self._request, record), PLAIN)

    def _request(self, record: FeatureRecord, examples: Sequence[Example]) -> Request:
        top = record.statistics.max or 1.0
        share = len(examples) / max(len(record.explain.positives), 1)
        silent = record.explain.negatives[: round(self.silent * share)]
        ordered = sorted(examples, key=lambda e: -e.peak)
        shown = "It is active on:\n" + fenced(numbered([self._line(e, e.peak / top) for e in ordered]))
        if silent:
            shown += "\n\nIt is not active on:\n" + fenced(numbered([self._line(e, 0.0) for e in silent]))
        return Request(
            messages=(
                Message("system", SYSTEM.format(fenced=FENCED, answer=PLAIN)),
                Message("user", shown),
            ),
            max_tokens=self.max_tokens,
            schema=PLAIN_SCHEMA,
            task=Task("explain", tuple(examples), record.explain.negatives, level=record.level),
            tag="explain",
        )

    def _line(self, example: Example, activation: float) -> str:
        facts = [f"activation {activation:.2f}", *known(example.metadata)]
        if self.include_sequence:
            facts.append(f"sequence {example.text}")
        return one_line("; ".join(facts))
