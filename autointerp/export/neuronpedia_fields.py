"""The rows of Neuronpedia's bulk-import layout: their fields, and whether a row has them.

The layout is that of the files which SAEDashboard writes and neuronpedia-utils imports (2026): a folder MODEL/SOURCE
with ``release``, ``model``, ``sourceset`` and ``source.jsonl`` of a row each, and ``features``, ``activations`` and
``explanations``, folders of ``batch-N.jsonl.gz``. The rows of explanation scores have the fields of its database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

FIELDS: dict[str, dict[str, str]] = {
    "release": {
        "name": "str", "description": "str", "creatorName": "str", "creatorId": "str", "visibility": "str",
        "isNewUi": "bool", "featured": "bool", "descriptionShort": "str?", "urls": "strs", "creatorEmail": "str?",
        "creatorNameShort": "str?", "defaultSourceSetName": "str?", "defaultSourceId": "str?",
        "defaultUmapSourceIds": "strs", "createdAt": "str",
    },
    "model": {
        "id": "str", "instruct": "bool", "creatorId": "str", "displayNameShort": "str", "displayName": "str",
        "tlensId": "str?", "dimension": "int?", "visibility": "str", "defaultSourceSetName": "str?",
        "defaultSourceId": "str?", "inferenceEnabled": "bool", "layers": "int", "neuronsPerLayer": "int",
        "createdAt": "str", "owner": "str", "updatedAt": "str", "website": "str?",
    },
    "sourceset": {
        "modelId": "str", "name": "str", "creatorId": "str", "hasDashboards": "bool", "visibility": "str",
        "description": "str", "type": "str", "creatorName": "str", "urls": "strs", "creatorEmail": "str?",
        "releaseName": "str?", "defaultOfModelId": "str?", "defaultRange": "int", "defaultShowBreaks": "bool",
        "showDfa": "bool", "showCorrelated": "bool", "showHeadAttribution": "bool", "showUmap": "bool",
        "createdAt": "str",
    },
    "source": {
        "id": "str", "modelId": "str", "setName": "str", "creatorId": "str", "hasDashboards": "bool",
        "inferenceEnabled": "bool", "inferenceHosts": "strs", "saelensConfig": "str?", "saelensRelease": "str?",
        "saelensSaeId": "str?", "hfRepoId": "str?", "hfFolderId": "str?", "visibility": "str",
        "defaultOfModelId": "str?", "hasUmap": "bool", "hasUmapLogSparsity": "bool", "hasUmapClusters": "bool",
        "num_prompts": "int?", "num_tokens_in_prompt": "int?", "dataset": "str?", "notes": "str?", "createdAt": "str",
    },
    "feature": {
        "modelId": "str", "layer": "str", "index": "str", "creatorId": "str?", "createdAt": "str",
        "maxActApprox": "float?", "hasVector": "bool", "vector": "floats", "hookName": "str?",
        "topkCosSimIndices": "ints", "topkCosSimValues": "floats", "neuron_alignment_indices": "ints",
        "neuron_alignment_values": "floats", "neuron_alignment_l1": "floats", "correlated_neurons_indices": "ints",
        "correlated_neurons_pearson": "floats", "correlated_neurons_l1": "floats",
        "correlated_features_indices": "ints", "correlated_features_pearson": "floats",
        "correlated_features_l1": "floats", "neg_str": "strs", "neg_values": "floats", "pos_str": "strs",
        "pos_values": "floats", "frac_nonzero": "float", "freq_hist_data_bar_heights": "floats",
        "freq_hist_data_bar_values": "floats", "logits_hist_data_bar_heights": "floats",
        "logits_hist_data_bar_values": "floats", "decoder_weights_dist": "floats", "sourceSetName": "str?",
    },
    "activation": {
        "id": "str", "modelId": "str", "layer": "str", "index": "str", "tokens": "strs", "values": "floats",
        "maxValue": "float", "maxValueTokenIndex": "int", "minValue": "float", "binMin": "float?", "binMax": "float?",
        "binContains": "float?", "qualifyingTokenIndex": "int?", "dfaValues": "floats", "dfaTargetIndex": "int?",
        "dfaMaxValue": "float?", "lossValues": "floats", "dataIndex": "str?", "dataSource": "str?",
        "creatorId": "str", "createdAt": "str",
    },
    "explanation": {
        "id": "str", "modelId": "str", "layer": "str", "index": "str", "description": "str", "authorId": "str",
        "embedding": "floats?", "triggeredById": "str?", "typeName": "str?", "explanationModelName": "str?",
        "notes": "str?", "createdAt": "str",
    },
    "score": {
        "value": "float", "explanationId": "str", "explanationScoreTypeName": "str",
        "explanationScoreModelName": "str?", "jsonDetails": "str",
    },
}  # fmt: skip
"""Fields of each kind of row, in order; a type with ? may be null."""
NEEDED = {
    "feature": ("index",),
    "activation": ("index", "tokens", "values"),
    "explanation": ("index", "description"),
    "score": ("value", "explanationId", "explanationScoreTypeName"),
}
"""Fields without which a row of another's export cannot be read."""


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda v: isinstance(v, str),
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "float": lambda v: type(v) in (int, float),
    "strs": lambda v: isinstance(v, list) and set(map(type, v)) <= {str},
    "ints": lambda v: isinstance(v, list) and set(map(type, v)) <= {int},
    "floats": lambda v: isinstance(v, list) and set(map(type, v)) <= {int, float},
}


def problem(kind: str, row: Mapping[str, Any], needed: tuple[str, ...] | None = None) -> str | None:
    """What is wrong with a row, or None.

    Parameters
    ----------
    needed : these fields must be there and of their type, and others may be missing; by default exactly all fields.
    """
    fields = FIELDS[kind]
    if needed is None and (other := sorted(set(row) ^ set(fields))):
        return f"{kind}: {'unknown' if other[0] in row else 'no'} field {other[0]!r}"
    for name in needed or fields:
        if name not in row:
            return f"{kind}: no field {name!r}"
        wanted, value = fields[name], row[name]
        if not (value is None and wanted.endswith("?")) and not _CHECKS[wanted.rstrip("?")](value):
            return f"{kind}: field {name!r} is {str(value)[:40]!r}, expected {wanted}"
    return _related(kind, row)


def _related(kind: str, row: Mapping[str, Any]) -> str | None:
    """What of a row's fields contradicts others of it."""
    if kind in ("feature", "activation", "explanation") and not str(row["index"]).isdecimal():
        return f"{kind}: index {str(row['index'])[:40]!r} is no feature's number"
    if kind == "activation":
        tokens, values = row["tokens"], row["values"]
        if len(tokens) != len(values) or not values:
            return f"activation: {len(tokens)} tokens, {len(values)} values"
        if row.get("maxValue") is not None and "maxValueTokenIndex" in row and row["maxValue"] != max(values):
            return f"activation: maxValue {row['maxValue']}, the values reach {max(values)}"
    if kind == "feature":
        for a, b in (("pos_str", "pos_values"), ("neg_str", "neg_values"), ("topkCosSimIndices", "topkCosSimValues")):
            if len(row.get(a) or ()) != len(row.get(b) or ()):
                return f"feature {row['index']}: {a} and {b} are not of one length"
    return None
