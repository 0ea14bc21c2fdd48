"""delphi's results folders: ``explanations/HOOK_latentN.txt`` and ``scores/SCORER/HOOK_latentN.txt``, both JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from autointerp.errors import UsageError
from autointerp.export.contexts import Contexts
from autointerp.files import atomic_open, write_json
from autointerp.report.reading import short

if TYPE_CHECKING:
    from autointerp.export.settings import Settings
    from autointerp.export.source import Source
    from autointerp.records import Score

SCORERS = {"detection": "detection", "fuzzing": "fuzz"}
"""Our scorers whose trials delphi's own analysis can read, and what it calls them."""


def export(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write the folders below ``out``, a feature at a time; return how many explanations and files of scores.

    delphi holds one explanation of a feature: that of ``settings.explainer``, or the first. Scores of other scorers
    than :data:`SCORERS`, and nulls, have no place there.

    Raises
    ------
    UsageError : no explanation, or by no such explainer; or the contexts that were judged are not at hand.
    """
    features, written = source.features, {"explanation": 0, "score": 0}
    contexts = None
    if source.cache is not None and source.corpus is not None:
        contexts = Contexts(source.cache, source.corpus, settings.context)
    hook = re.sub(r"[:/]+", ".", source.hook)
    for begin in range(0, len(features), settings.batch):
        part = features[begin : begin + settings.batch]
        for feature, told in source.results(part).items():
            chosen = [one for one in told if settings.explainer in (None, one["explainer"], short(one["explainer"]))]
            if not chosen:
                continue
            one, name = chosen[0], f"{hook}_latent{feature}.txt"
            with atomic_open(out / "explanations" / name) as handle:
                handle.write(orjson.dumps(one["text"]))
            written["explanation"] += 1
            for folder, score in _scores(source, feature, one).items():
                if contexts is None:
                    source.needs_contexts("an export of delphi's scores")
                assert contexts is not None
                with atomic_open(out / "scores" / folder / name) as handle:
                    handle.write(orjson.dumps(samples(contexts, score)))
                written["score"] += 1
    if not written["explanation"]:
        raise UsageError(f"{source.folder}: no explanation{f' by {settings.explainer}' if settings.explainer else ''}")
    write_json(out / "run_config.json", {"model": source.subject, "hookpoints": [hook], "written_by": "autointerp"})
    return written


def _scores(source: Source, feature: int, told: dict[str, Any]) -> dict[str, Score]:
    """By delphi's name of the scorer, the first of each."""
    found: dict[str, Score] = {}
    for row in told["scores"]:
        folder = SCORERS.get(short(row["scorer"]))
        if folder is not None and folder not in found:
            names = (told["explainer"], told["client"], row["scorer"], row["client"])
            score = source.store.get_score(feature, *names, spoilt=True)
            if score is not None and score.trials:
                found[folder] = score
    return found


def samples(contexts: Contexts, score: Score) -> list[dict[str, Any]]:
    """A judged example each: its tokens and activations, its quantile (−1 if it is silent), truth and answer."""
    shown = contexts.at(score.feature, [trial.example for trial in score.trials])
    return [
        {
            "str_tokens": tokens,
            "activations": [round(v, 4) for v in values.tolist()],
            "distance": float(trial.quantile) if trial.truth else -1.0,
            "activating": trial.truth,
            "prediction": trial.predicted,
            "probability": trial.probability,
            "correct": None if trial.predicted is None else trial.predicted == trial.truth,
        }
        for trial, (tokens, values) in zip(score.trials, shown, strict=True)
    ]
