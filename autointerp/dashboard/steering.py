"""Steer: clamp or scale a feature and see how what the subject predicts changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.dashboard.models import Models, cleaned
from autointerp.dashboard.page import Page, short
from autointerp.dashboard.tracks import parse_ranges, positions_in
from autointerp.errors import UsageError

if TYPE_CHECKING:
    import torch

    from autointerp.clients.local.studied import Studied
    from autointerp.dashboard.run import Run
    from autointerp.subjects.protocol import Edit, Predictor

HOWS = ("clamp", "scale")
N_TOKENS = 4
"""Tokens shown of each prediction."""
N_ROWS = 24
"""Positions shown in full, and masked one by one."""
AT_ONCE = 4096
"""Tokens of one forward pass, when there are several."""


def steer(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    """What changes when one feature is set to a value, or multiplied by a factor.

    Parameters
    ----------
    body : ``feature``, ``text``; ``how``, one of :data:`HOWS`, and ``value``; ``where``, the positions at which it is
        changed (``"5-30, 50"``, all by default); ``at``, those whose predictions are shown (those that change most).

    Returns
    -------
    ``before`` and ``after`` (n,) activations, ``kl`` (n,) nats between the predictions at each token, and ``rows``:
    position, token, ``kl``, and the likeliest tokens before and after, with both probabilities. Of a masked model the
    rows are predictions of positions that it does not see, one masked at a time.
    """
    return run.once("models", lambda: Models(run)).ask(lambda studied: _steered(body, studied))


def _steered(body: dict[str, Any], studied: Studied) -> dict[str, Any]:
    import torch

    from autointerp.subjects.joined import split_hooks
    from autointerp.subjects.protocol import needs_predictor

    subject, coder = needs_predictor(studied.subject), studied.coder
    target = str(coder.metadata.get("target_hook") or studied.hook)
    if len(split_hooks(target)) > 1:
        raise UsageError("Steering along a feature of a crosscoder is not built: its direction is one for each hook.")
    feature, how, value = _asked(body, coder.n_features)
    name, text = cleaned(body.get("text"), subject.kind)
    tokens = subject.tokenize([text])[0]
    ids, n = tokens.ids, len(tokens.ids)
    if not 1 <= n <= subject.context_length:
        raise UsageError(f"{n:,} tokens; {subject.name} sees {subject.context_length:,} at once: paste fewer")
    change = _Change(studied, target, n, feature, (how, value))
    where = positions_in(parse_ranges(str(body.get("where") or ""), n))
    if len(where):
        change.inside = np.isin(np.arange(n), where)
    with torch.inference_mode():
        model = _Predicting(subject, ids, change)
        clean, steered = model.unmasked()
        before, after = change.before, change.after
        kl = (clean.exp() * (clean - steered)).sum(1).numpy()
        at = positions_in(parse_ranges(str(body.get("at") or ""), n))[:N_ROWS]
        rows = at if len(at) else np.sort(np.argsort(-kl, kind="stable")[:N_ROWS])
        if not subject.causal and "mask" in subject.special_tokens:
            clean, steered = model.masked(rows)
        else:
            clean, steered = clean[rows], steered[rows]
        words = _Words(subject, ids, text, tokens.ends)
        told = [_row(int(p), c, s, words, subject.causal) for p, c, s in zip(rows, clean, steered, strict=True)]
    facts = {"feature": feature, "name": name, "text": text, "n": n, "kind": subject.kind, "causal": subject.causal}
    series = {"before": short(before), "after": short(after), "kl": short(kl, 3)}
    return facts | series | {"rows": told, "hook": target} | ({} if tokens.ends is None else {"ends": tokens.ends})


def _asked(body: dict[str, Any], n_features: int) -> tuple[int, str, float]:
    """The feature, how it is changed, and the number."""
    try:
        feature, value = int(body.get("feature", "")), float(body.get("value", ""))
    except (TypeError, ValueError):
        raise UsageError("Give the number of a feature, and the value or factor.") from None
    if not 0 <= feature < n_features:
        raise UsageError(f"feature {feature}: the coder has 0 … {n_features - 1}")
    how = str(body.get("how") or "clamp")
    if how not in HOWS or not math.isfinite(value):
        raise UsageError(f"{how} {value:g}: valid are {' and '.join(HOWS)} with a finite number")
    return feature, how, value


class _Change:
    """Sets or multiplies one feature's activations in whatever states the subject comes to, masked ones included.

    What is added is the difference of two reconstructions that differ in this code alone: whatever normalisation the
    coder undoes is in it, and what the coder does not explain of a state stays as it is.

    Attributes
    ----------
    before, after : (n,) activations of the last pass.
    """

    def __init__(self, studied: Studied, target: str, n: int, feature: int, asked: tuple[str, float]) -> None:
        self.studied, self.target, self.n, self.feature = studied, target, n, feature
        self.how, self.value = asked
        self.inside = np.ones(n, bool)
        self._read: torch.Tensor | None = None

    def edits(self) -> dict[str, Edit]:
        """What to do at which hook in a pass over windows of this sequence."""
        if self.target == self.studied.hook:
            return {self.target: lambda states, _: states + self._added(states).to(states)}
        return {self.studied.hook: self._look, self.target: self._add_read}

    def _look(self, states: torch.Tensor, windows: Sequence[np.ndarray]) -> torch.Tensor:
        self._read = states
        return states

    def _add_read(self, states: torch.Tensor, windows: Sequence[np.ndarray]) -> torch.Tensor:
        if self._read is None:
            raise UsageError(f"the coder reads at {self.studied.hook}, behind {self.target}, where it writes")
        added = self._added(self._read)
        self._read = None
        return states + added.to(states)

    def _added(self, states: torch.Tensor) -> torch.Tensor:
        """(m · n, d_out) for the states (m · n, d_in) of m windows."""
        import torch

        from autointerp.coders.codes import Codes

        coder, n = self.studied.coder, self.n
        inside = torch.from_numpy(self.inside).repeat(len(states) // n).to(coder.b_dec.device)
        read = states.float().to(coder.b_dec.device)
        if self.studied.level == "sequence":
            read = read.unflatten(0, (-1, n)).mean(1).repeat_interleave(n, 0)
        before = coder.encode(read, [self.feature]).dense()[:, 0]
        wanted = torch.full_like(before, self.value) if self.how == "clamp" else before * self.value
        after = torch.where(inside, wanted, before)
        rows = torch.arange(len(before) + 1, device=before.device)
        index = torch.full((len(before),), self.feature, device=before.device)
        new, old = (coder.reconstruct(read, Codes(rows, index, a, coder.n_features)) for a in (after, before))
        self.before, self.after = (a[:n].cpu().numpy() for a in (before, after))
        return new - old


class _Predicting:
    """What the subject predicts for one sequence, as it is and with a feature changed."""

    def __init__(self, subject: Predictor, ids: np.ndarray, change: _Change) -> None:
        self.subject, self.ids, self.change = subject, ids, change

    def unmasked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (n, n_tokens) at every token."""
        return self._both(1, None)

    def masked(self, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (len(positions), n_tokens), each of a position that is masked by itself."""
        import torch

        n, found = len(self.ids), []
        step = max(1, AT_ONCE // n)
        for first in range(0, len(positions), step):
            some = positions[first : first + step]
            hidden = np.arange(len(some)) * n + some
            rows = torch.from_numpy(hidden)
            found.append([logits[rows] for logits in self._both(len(some), hidden)])
        clean, steered = (torch.cat(part) for part in zip(*found, strict=True))
        return clean, steered

    def _both(self, times: int, masked: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
        windows = [self.ids] * times
        first = self.subject.predict(windows, masked=masked).float().cpu().log_softmax(1)
        second = self.subject.predict(windows, edits=self.change.edits(), masked=masked)
        return first, second.float().cpu().log_softmax(1)


class _Words:
    """What the subject's tokens are called."""

    def __init__(self, subject: Predictor, ids: np.ndarray, text: str, ends: np.ndarray | None) -> None:
        self._special = {i: f"<{name}>" for name, i in subject.special_tokens.items()}
        decode = getattr(getattr(subject, "tokenizer", None), "decode", None)
        if ends is None:
            letters = "ACDEFGHIKLMNPQRSTVWYXBUZO"
            self._known = dict(zip(subject.tokenize([letters])[0].ids.tolist(), letters, strict=True))
        else:
            self._known = {}
        self._decode = decode if ends is not None else None
        starts = None if ends is None else np.concatenate([[0], ends[:-1]])
        self.shown = list(text) if starts is None else [text[a:b] for a, b in zip(starts, ends, strict=True)]  # type: ignore[arg-type]

    def __call__(self, token: int) -> str:
        if token in self._special:
            return self._special[token]
        if token in self._known:
            return self._known[token]
        return self._decode(np.array([token])) if self._decode else f"#{token}"

    def may_be(self, token: int) -> bool:
        """Whether a prediction of ``token`` is worth showing."""
        return token not in self._special and (self._decode is not None or token in self._known)


def _row(position: int, clean: torch.Tensor, steered: torch.Tensor, words: _Words, causal: bool) -> dict[str, Any]:
    """One position: the likeliest tokens before and after, each with both probabilities."""
    kl = float((clean.exp() * (clean - steered)).sum())
    wanted: list[int] = []
    for side in (clean, steered):
        best = [t for t in side.argsort(descending=True)[: N_TOKENS + 8].tolist() if words.may_be(t)]
        wanted += [t for t in best[:N_TOKENS] if t not in wanted]
    wanted.sort(key=lambda t: -float(steered[t]))
    tokens = [[words(t), round(float(clean[t].exp()), 4), round(float(steered[t].exp()), 4)] for t in wanted]
    shown = words.shown[position] if position < len(words.shown) else ""
    return {"at": position, "token": shown, "next": causal, "kl": float(f"{kl:.3g}"), "tokens": tokens}


def steerable(run: Run, feature: str) -> dict[str, Any]:
    """What is known of a feature before it is steered: its explanation, and its largest activation in the corpus."""
    cache = run.cache
    if not feature.isdecimal() or (cache is not None and int(feature) >= cache.n_features):
        raise UsageError(f"there is no feature {feature[:20]}")
    known = cache is not None and cache.complete
    top = float(cache.statistics["max"][int(feature)]) if cache is not None and known else None
    return {"label": run.explanation(int(feature)), "max": top}


PAGE = Page(scripts=("steering.js",), payloads={"steerable/{feature}": steerable}, actions={"steer": steer})
