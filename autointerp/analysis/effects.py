"""Direct logit attribution of all features: what their directions, in the last state, do to the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.progress import Observer, Stage

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from autointerp.cache import ActivationCache
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects.protocol import Predictor, Subject

SAMPLE = 4096
"""Tokens of the corpus that the mean state is of."""
AT_ONCE = 1 << 22
"""Effects held at one time, of n_features × vocabulary."""
TOP = 10
"""Tokens named on each side."""
BINS = 50
"""Bins of the histogram of effects."""
LINEAR = "linear head: decoder through the final norm, its scale frozen at the mean over tokens, and the unembedding"
DIFFERENCE = "difference of logits at the mean state before the final norm, with and without the feature"


@dataclass(frozen=True, eq=False)
class Effects:
    """What each feature does to the logits of the tokens that are spoken of.

    Attributes
    ----------
    feature : (n,) those that fire. method : how it was computed. n_tokens : tokens of the corpus it was computed on.
    tokens : texts of the vocabulary that is spoken of.
    top, bottom : (n, TOP) places in ``tokens``, the largest changes first; ``top_value``, ``bottom_value`` the changes.
    moments : (n, 6) mean, sd, skew, kurtosis (excess), low, high over ``tokens``. histogram : (n, BINS) low … high.
    sets, sizes : names of token sets, and how many tokens each has.
    shift, z : (n, n_sets) mean of the set less the mean of all, in standard deviations, and over its standard error.
    """

    feature: np.ndarray
    method: str
    n_tokens: int
    tokens: list[str]
    top: np.ndarray
    top_value: np.ndarray
    bottom: np.ndarray
    bottom_value: np.ndarray
    moments: np.ndarray
    histogram: np.ndarray
    sets: list[str]
    sizes: np.ndarray
    shift: np.ndarray
    z: np.ndarray


def effects(
    subject: Subject,
    coder: SparseCoder,
    cache: ActivationCache,
    corpus: Corpus,
    *,
    sets: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    observer: Observer | None = None,
) -> Effects:
    """Direct effects of the features that fire, each at its largest activation in the cache.

    Raises
    ------
    UsageError : the subject predicts nothing, or the decoder is not as wide as its residual stream.

    Notes
    -----
    With a linear head (found and tried, :func:`autointerp.subjects.readout.linear_head`) the logit lens of features:
    W_U · norm(a·d), the norm dividing by its mean over tokens. Otherwise logits(μ + a·d) − logits(μ), μ the mean state.
    The enrichment of a set of m of V tokens is a z test of its mean against a random set (Kim & Volsky 2005,
    doi:10.1186/1471-2105-6-144), with the variance of draws without replacement.
    """
    import torch

    from autointerp.analysis.token_sets import membership
    from autointerp.subjects.protocol import needs_predictor
    from autointerp.subjects.readout import spoken_of, token_texts

    model = needs_predictor(subject)
    if coder.d_out != subject.d_model:
        raise UsageError(
            f"the decoder is {coder.d_out} wide, the residual stream of {subject.name} {subject.d_model}: its features "
            "have no direct effect on the logits"
        )
    ids = _sample(subject, corpus, cache.n_sequences, seed)
    spoken = spoken_of(subject)
    tokens = token_texts(subject, spoken)
    names, members = membership(tokens, subject.kind, sets)
    alive = np.flatnonzero(cache.statistics["count"])
    if not len(alive):
        raise UsageError("no feature fires: there is no effect to measure")
    with torch.inference_mode():
        size = cache.statistics["max"].astype(np.float32) * _undone(subject, coder, cache, ids)
        method, change = _changes(model, coder, ids, torch.from_numpy(spoken.astype(np.int64)))
        parts = []
        rows = max(AT_ONCE // len(spoken), 1)
        with Stage(observer, "effects on the logits", len(alive), "feature") as stage:
            for first in range(0, len(alive), rows):
                own = torch.from_numpy(alive[first : first + rows])
                steps = coder.decoder[own].float() * torch.from_numpy(size[own.numpy()])[:, None].to(
                    coder.decoder.device
                )
                parts.append(_summed_up(change(steps), members))
                stage.advance(len(own))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Effects(alive, method, sum(map(len, ids)), tokens, sets=names, sizes=members.sum(0), **columns)


def _sample(subject: Subject, corpus: Corpus, n_sequences: int, seed: int) -> list[np.ndarray]:
    """Content ids of random sequences, ``SAMPLE`` tokens of them or all there are."""
    ids: list[np.ndarray] = []
    for row in np.random.default_rng(seed).permutation(n_sequences).tolist():
        window = subject.tokenize([corpus.text(row)])[0].ids[: subject.context_length]
        if len(window):
            ids.append(window)
        if sum(map(len, ids)) >= SAMPLE:
            break
    return ids


def _undone(subject: Subject, coder: SparseCoder, cache: ActivationCache, ids: Sequence[np.ndarray]) -> float:
    """Mean factor by which the coder's output is scaled when its input norm is undone."""
    from autointerp.coders.norms import normalise

    if coder.input_norm == "none" or not coder.undo_norm:
        return 1.0
    hook = cache.manifest["subject"]["hook"]
    _, _, scale = normalise(subject.states(ids, [hook])[hook].float(), coder.input_norm)
    return float(scale.mean()) if not isinstance(scale, float) else scale


def _changes(model: Predictor, coder: SparseCoder, ids: Sequence[np.ndarray], spoken: Tensor) -> tuple[str, Any]:
    """The method, and the function of directions (n, d_model) that gives their effects (n, n_spoken) float32."""
    from autointerp.subjects.readout import linear_head, mean_state, read_out

    if (head := linear_head(model, ids)) is not None:
        unembed = head.unembed[spoken.to(head.unembed.device)]
        return LINEAR, lambda steps: head.frozen(steps.to(unembed)) @ unembed.T
    mean, content = mean_state(model, ids), int(ids[0][0])
    plain = read_out(model, mean[None], content)[:, spoken]
    return DIFFERENCE, lambda steps: read_out(model, mean + steps.to(mean), content)[:, spoken] - plain


def _summed_up(change: Tensor, members: np.ndarray) -> dict[str, np.ndarray]:
    """What :class:`Effects` keeps of the effects (n, n_spoken) of some features."""
    import torch

    n, k = change.shape[1], min(TOP, change.shape[1] // 2)
    top, bottom = change.topk(k), change.topk(k, largest=False)
    mean = change.mean(1, keepdim=True)
    away = change - mean
    sd = away.square().mean(1, keepdim=True).sqrt()
    unit = away / sd.clamp(min=1e-30)
    square = unit * unit  # thrice as fast as powers
    skew, kurtosis = (square * unit).mean(1, keepdim=True), (square * square).mean(1, keepdim=True) - 3
    low, high = change.amin(1, keepdim=True), change.amax(1, keepdim=True)
    place = ((change - low) * (BINS / (high - low).clamp(min=1e-30))).int().clamp_(max=BINS - 1)
    place += torch.arange(len(change), dtype=torch.int32, device=change.device)[:, None] * BINS
    histogram = torch.bincount(place.flatten(), minlength=len(change) * BINS).view(-1, BINS).int()
    m = members.sum(0)
    shift = (unit @ torch.from_numpy(members / np.maximum(m, 1)).to(unit)).cpu().numpy()
    kept = {
        "top": top.indices,
        "top_value": top.values,
        "bottom": bottom.indices,
        "bottom_value": bottom.values,
        "moments": torch.cat([mean, sd, skew, kurtosis, low, high], 1),
        "histogram": histogram,
    }
    arrays = {name: tensor.cpu().numpy() for name, tensor in kept.items()}
    return arrays | {"shift": shift, "z": shift / np.sqrt((n - m) / max(n - 1, 1) / np.maximum(m, 1))}


def tables(found: Effects) -> dict[str, pa.Table]:
    """``logits``, ``logit_moments`` and ``token_sets``, sorted by feature."""
    import pyarrow as pa

    from autointerp.analysis.tables import table_of
    from autointerp.statistics.nulls import benjamini_hochberg

    text = pa.array(found.tokens)
    n, k = found.top.shape
    sides = np.repeat([["promoted", "suppressed"]], n, 0)
    logits = {
        "feature": np.repeat(found.feature, 2 * k),
        "side": np.repeat(sides.ravel(), k).tolist(),
        "rank": np.tile(np.arange(k), 2 * n),
        "token": text.take(pa.array(np.stack([found.top, found.bottom], 1).ravel())),
        "value": np.stack([found.top_value, found.bottom_value], 1).ravel(),
    }
    rises = np.repeat((sides == "promoted").ravel(), k)
    moved = np.where(rises, logits["value"] > 0, logits["value"] < 0)  # of a short vocabulary not all rise or fall
    names = ("mean", "sd", "skew", "kurtosis", "low", "high")
    moments = dict(zip(names, found.moments.T, strict=True))
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(found.histogram.ravel()), found.histogram.shape[1])
    n_sets = len(found.sets)
    p = 2 * _normal_tail(np.abs(found.z))
    sets = {
        "feature": np.repeat(found.feature, n_sets),
        "set": found.sets * n,
        "n_tokens": np.tile(found.sizes, n),
        "shift": found.shift.ravel(),
        "z": found.z.ravel(),
        "q": benjamini_hochberg(p.ravel()),
    }
    return {
        "logits": table_of("logits", logits).filter(pa.array(moved)),
        "logit_moments": table_of("logit_moments", {"feature": found.feature, **moments, "histogram": histogram}),
        "token_sets": table_of("token_sets", sets),
    }


def _normal_tail(z: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(-z)
