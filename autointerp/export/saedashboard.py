"""SAEDashboard's JSON: ``batch-N.json``, each with the dashboards of some features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from autointerp.export.contexts import Contexts
from autointerp.export.neuronpedia import Names, Rows
from autointerp.files import atomic_open

if TYPE_CHECKING:
    from autointerp.export.settings import Settings
    from autointerp.export.source import Source

SAME = (
    "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices",
    "correlated_neurons_l1", "correlated_neurons_pearson", "correlated_features_indices", "correlated_features_l1",
    "correlated_features_pearson", "neg_str", "neg_values", "pos_str", "pos_values", "frac_nonzero",
    "freq_hist_data_bar_values", "freq_hist_data_bar_heights", "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values", "decoder_weights_dist",
)  # fmt: skip
"""Fields of a feature that Neuronpedia's rows have under the same names."""


def export(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write ``batch-N.json`` into ``out``; return how many features and activations.

    Raises
    ------
    UsageError : cache or corpus are not at hand.
    """
    cache, corpus = source.needs_contexts("an export as SAEDashboard's JSON")
    names = Names(source, settings)
    rows = Rows(source, settings, names, Contexts(cache, corpus, settings.context))
    features, n = source.features, 0
    head = {"model_id": names.model, "layer": names.layer, "sae_set": names.set, "sae_id_suffix": None}
    for number, begin in enumerate(range(0, len(features), settings.batch)):
        part = features[begin : begin + settings.batch]
        with atomic_open(out / f"batch-{number}.json") as handle:
            handle.write(orjson.dumps(head)[:-1] + b',"features":[')
            for i, (feature, known) in enumerate(zip(part, source.rows(part), strict=True)):
                shown = _feature(feature, list(rows.of(feature, known, ())))
                shown |= {"n_prompts_total": cache.n_sequences, "n_tokens_in_prompt": settings.context}
                shown |= {"dataset": corpus.path.name}
                n += len(shown["activations"])
                handle.write((b"," if i else b"") + orjson.dumps(shown))
            handle.write(b"]}\n")
    return {"feature": len(features), "activation": n}


def _feature(feature: int, rows: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """One feature's dashboard from its rows."""
    own = rows[0][1]
    activations = [
        {
            "bin_min": row["binMin"],
            "bin_max": row["binMax"],
            "bin_contains": row["binContains"],
            "tokens": row["tokens"],
            "values": row["values"],
            "qualifying_token_index": row["qualifyingTokenIndex"],
        }
        for kind, row in rows
        if kind == "activation"
    ]
    return {"feature_index": feature} | {name: own[name] for name in SAME} | {"activations": activations}
