"""A delphi run as a run: its explanations, its scores with their trials, and the contexts that were judged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from autointerp.errors import FormatError, UsageError, nearest
from autointerp.export.landing import (
    AT_ONCE,
    Contexts,
    Landed,
    Shown,
    Told,
    check_free,
    statistics_shown,
    write_results,
    write_settings,
)
from autointerp.files import read_json
from autointerp.records import Explanation, FeatureStatistics, Score, Trial

NAME = re.compile(r"(?:(?P<hook>.*)_latent|(?:.*latent)?)(?P<feature>\d+)\.(?:txt|json)")
EXPLAINER = "delphi@1"
SCORERS = {"detection": "detection@delphi", "fuzz": "fuzzing@delphi"}
"""delphi's scorers whose files hold judged examples, and what they are called here."""
UNPARSED = "Explanation could not be parsed."


def is_delphi(path: Path) -> bool:
    """Whether ``path`` holds delphi's folders."""
    return any(NAME.fullmatch(p.name) for p in islice((path / "explanations").glob("*.txt"), 4))


def read(folder: Path, out: Path, hook: str | None = None, kind: str | None = None) -> Landed:
    """Read the results in ``folder`` into a new run at ``out``, some hundred features at a time.

    Parameters
    ----------
    hook : which hookpoint, where there are several.

    Raises
    ------
    UsageError : several hookpoints and none chosen, or ``out`` is taken. FormatError : a file that is not delphi's.
    """
    from autointerp.store import RunStore
    from caching.interchange.staging import staged

    check_free(out)
    hook, explained = _explanations(folder, hook)
    judged = {name: _named(folder / "scores" / name, hook) for name in SCORERS}
    features = sorted({*explained, *(f for files in judged.values() for f in files)})
    facts = _facts(folder, hook)
    landed = Landed(features=features[-1] + 1)
    for other in sorted({p.name for p in (folder / "scores").glob("*") if p.is_dir()} - set(SCORERS)):
        landed.left_out[f"files of scorer {other}"] = len(_named(folder / "scores" / other, hook))
    with staged(out) as place:
        contexts = Contexts(place / "cache", landed.features, kind)
        with RunStore.open(place) as store:
            store.bind({"imported": "delphi", "hook": hook}, {"subject": facts["subject"], "hook": hook})
            for begin in range(0, len(features), AT_ONCE):
                part = _Part(features[begin : begin + AT_ONCE], explained, judged, facts["model"], landed)
                write_results(store, part.told(contexts), part.statistics)
        if len(contexts):
            contexts.finish(place / "corpus", facts)
        write_settings(place, out, facts)
    return landed


def _facts(folder: Path, hook: str) -> dict[str, Any]:
    path = folder / "run_config.json"
    config = read_json(path) if path.exists() else {}
    judge = str(config.get("explainer_model") or "unknown")
    return {"format": "delphi", "subject": str(config.get("model") or "unknown"), "hook": hook, "model": judge}


def _named(folder: Path, hook: str) -> dict[int, Path]:
    """Files of one hookpoint by feature."""
    found = {}
    for path in folder.glob("*"):
        match = NAME.fullmatch(path.name)
        if match and (match["hook"] or "") == hook:
            found[int(match["feature"])] = path
    return found


def _explanations(folder: Path, hook: str | None) -> tuple[str, dict[int, Path]]:
    """The hookpoint, and its files of explanations by feature."""
    matches = [NAME.fullmatch(path.name) for path in (folder / "explanations").glob("*")]
    hooks = Counter(match["hook"] or "" for match in matches if match)
    if not hooks:
        raise FormatError(folder, "a delphi run: explanations/HOOK_latentN.txt", "none")
    if hook is None and len(hooks) > 1:
        raise UsageError(f"{folder} holds several hookpoints, choose one with --hook: {', '.join(sorted(hooks))}")
    chosen = next(iter(hooks)) if hook is None else hook
    if chosen not in hooks:
        raise UsageError(f"{folder} has no hookpoint {chosen!r}; {nearest(chosen, hooks)}")
    return chosen, _named(folder / "explanations", chosen)


class _Part:
    """Some features: their files, read."""

    def __init__(
        self,
        features: Sequence[int],
        explained: dict[int, Path],
        judged: dict[str, dict[int, Path]],
        model: str,
        landed: Landed,
    ) -> None:
        self.features, self.explained, self.model, self.landed = features, explained, model, landed
        self.samples = {
            (feature, name): [s for s in _json(files[feature]) if _is_sample(s, landed)]
            for feature in features
            for name, files in judged.items()
            if feature in files
        }

    def statistics(self, feature: int) -> FeatureStatistics:
        """Of a feature, over the contexts that were judged."""
        own = [_shown(f, sample) for (f, _), some in self.samples.items() if f == feature for sample in some]
        return statistics_shown(list({tuple(shown.tokens): shown for shown in own}.values()))

    def told(self, contexts: Contexts) -> Iterator[Told]:
        """Explanations and scores; the contexts are taken in first, for trials name their rows."""
        shown = [_shown(feature, s) for (feature, _), some in self.samples.items() for s in some]
        rows = iter(contexts.add(shown))
        self.landed.contexts += len(shown)
        scores: dict[int, list[tuple[Score, str]]] = {}
        for (feature, name), some in self.samples.items():
            trials = [_trial(i, sample, next(rows)) for i, sample in enumerate(some)]
            if trials:
                scores.setdefault(feature, []).append((_score(feature, SCORERS[name], trials, self.model), self.model))
                self.landed.scores += 1
        for feature in self.features:
            text = _json(self.explained[feature], text=True) if feature in self.explained else ""
            failure = None if text and text != UNPARSED else "delphi could not read the reply" if text else "not saved"
            if failure:
                self.landed.leave(f"explanations: {failure}")
            self.landed.explanations += failure is None
            explanation = Explanation(feature, "" if failure else text, EXPLAINER, self.model, failure)
            yield Told(explanation, self.model, tuple(scores.get(feature, ())))


def _shown(feature: int, sample: dict[str, Any]) -> Shown:
    return Shown(feature, sample["str_tokens"], sample["activations"])


def _json(path: Path, *, text: bool = False) -> Any:
    """A file's JSON: a list, or with ``text`` a text, which need not be JSON.

    Raises
    ------
    FormatError : it is neither.
    """
    data = path.read_bytes()
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if text:
            return data.decode("utf-8", "replace").strip()
        raise FormatError(path, "a list as JSON", str(error).splitlines()[0]) from None
    if text:
        return value if isinstance(value, str) else data.decode()
    if not isinstance(value, list):
        raise FormatError(path, "a list of judged examples", type(value).__name__)
    return value


def _is_sample(sample: Any, landed: Landed) -> bool:
    """Whether a sample holds tokens, as many activations, and the truth."""
    good = isinstance(sample, dict) and {"activating", "ground_truth"} & set(sample)
    if good and sample.get("str_tokens") and len(sample["str_tokens"]) == len(sample.get("activations") or ()):
        return True
    landed.leave("samples without tokens, activations and truth")
    return False


def _trial(number: int, sample: dict[str, Any], row: int) -> Trial:
    truth = bool(sample.get("activating", sample.get("ground_truth")))
    said = sample.get("prediction")
    predicted = None if said is None or said == -1 else bool(said > 0.5)  # −1 stands for none in its older version
    distance = sample.get("distance")
    quantile = int(distance) if truth and distance is not None else -1
    kind = "activating" if truth else "neighbour" if distance is not None and distance < -1 else "random"
    failure = "unparsed" if predicted is None else None
    place = f"{row}:0:{len(sample['str_tokens'])}"
    return Trial(place, kind, quantile, truth, predicted, failure, number, sample.get("probability"))


def _score(feature: int, scorer: str, trials: Sequence[Trial], model: str) -> Score:
    from autointerp.scorers.summary import summarise

    return summarise(feature, EXPLAINER, scorer, trials, model=model)
