"""Blind rating: contexts and explanations, shuffled by a seed, judged without knowing where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.dashboard.notes import kept
from autointerp.dashboard.page import Page
from autointerp.dashboard.rated import results
from autointerp.errors import UsageError
from autointerp.store.notes import KINDS, Rating

if TYPE_CHECKING:
    from autointerp.dashboard.run import Run

ASKED = "detection"
"""The scorer whose trials are rated: the reader is asked what its judge was asked."""
BLOCK = 4
"""Contexts rated one after the other for one explanation; contexts shown for one explanation to be rated."""
MOST = 400
MOST_DEALS = 64
"""Deals that the server remembers."""


@dataclass(frozen=True, slots=True)
class Card:
    """One question, with what must not be shown: whose explanation it is, and whether it fits."""

    kind: str
    feature: int
    explainer: str
    client: str
    shown: str
    truth: bool
    text: str
    contexts: tuple[str, ...]


def deal(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    """Cards to rate: ``rater``, ``kind``, ``seed`` and ``n``; the same four are the same cards, in the same order.

    Returns
    -------
    ``deal``, its name for :func:`answer`; ``cards``: ``text`` and ``contexts``, without anything that tells the answer;
    ``answered``, the places of those that this rater has rated.
    """
    rater, kind = str(body.get("rater") or "").strip(), str(body.get("kind") or "")
    if kind not in KINDS:
        raise UsageError(f"kind {kind!r}; valid: {', '.join(KINDS)}")
    if not rater:
        raise UsageError("Write your name first: ratings are kept by rater.")
    try:
        seed, n = int(body.get("seed", 0)), int(body.get("n", 40))
    except (TypeError, ValueError):
        raise UsageError("seed and number of cards: whole numbers are needed") from None
    if not 1 <= n <= MOST or not 0 <= seed < 2**31:
        raise UsageError(f"{n} cards with seed {seed}: valid are 1 … {MOST} cards and seeds from 0")
    cards = _deals(run).get(run, kind, seed, n)
    if not cards:
        raise UsageError(f"Nothing to rate: no {ASKED} trials of explained features are stored yet.")
    rated = {
        (r["kind"], r["feature"], r["explainer"], r["client"], r["shown"])
        for r in run.store.ratings().to_pylist()
        if r["rater"] == rater
    }
    keys = [(c.kind, c.feature, c.explainer, c.client, c.shown) for c in cards]
    return {
        "deal": f"{kind}-{seed}-{n}",
        "cards": [_blind(run, card) for card in cards],
        "answered": [i for i, key in enumerate(keys) if key in rated],
        "protein": run.is_protein,
    }


def answer(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    """Keep one rating: ``deal``, ``card`` (its place), ``rater``, ``answer`` (true or false), ``seconds``."""
    try:
        kind, seed, n = str(body.get("deal", "")).split("-")
        card = _deals(run).get(run, kind, int(seed), int(n))[int(body["card"])]
    except (ValueError, KeyError, IndexError, TypeError):
        raise UsageError("this deal or card is not known; deal again") from None
    said, seconds = body.get("answer"), body.get("seconds")
    if not isinstance(said, bool):
        raise UsageError("answer: true or false is needed")
    took = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 86400 else None
    rating = Rating(
        str(body.get("rater") or ""), card.kind, card.feature, card.explainer, card.client, card.shown,
        card.truth, said, took,
    )  # fmt: skip
    kept(run).put_rating(rating)
    return {"kept": True}


class _Deals:
    """The cards that were dealt, so that a running study's new results do not change them meanwhile."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._dealt: dict[tuple[str, int, int], list[Card]] = {}

    def get(self, run: Run, kind: str, seed: int, n: int) -> list[Card]:
        with self._lock:
            key = (kind, seed, n)
            if not self._dealt.get(key):
                if kind not in KINDS or not 1 <= n <= MOST:
                    raise ValueError(kind)
                self._dealt[key] = draw(run, kind, seed, n)
                while len(self._dealt) > MOST_DEALS:
                    self._dealt.pop(next(iter(self._dealt)))
            return self._dealt[key]


def _deals(run: Run) -> _Deals:
    return run.once("deals", _Deals)


def draw(run: Run, kind: str, seed: int, n: int) -> list[Card]:
    """``n`` cards, or as many as the stored trials give."""
    if not run.has_study:
        return []
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    pairs = sorted(run.store.rateable(ASKED))  # two databases do not order words alike
    cards: list[Card] = []
    for place in rng.permutation(len(pairs)).tolist():
        if len(cards) >= n:
            break
        cards += (_of_contexts if kind == "context" else _of_explanation)(run, rng, *pairs[place])
    return cards[:n]


def _trials(run: Run, feature: int, explainer: str, client: str) -> tuple[str, list[tuple[str, bool]], int | None]:
    """The explanation's text, its (context, whether the feature fires there), and the partner of its null."""
    told = [t for t in run.store.told_of(feature) if (t["explainer"], t["client"]) == (explainer, client)]
    scores = [
        s
        for s in run.store.judged_of(feature)
        if (s["explainer"], s["explainer_client"]) == (explainer, client) and s["scorer"].partition("@")[0] == ASKED
    ]
    own = [s["id"] for s in scores if not s["is_null"]][:1]
    judged = run.store.trials_of(own, ("example", "truth")).get(own[0], {}) if own else {}
    trials = [(e, bool(t)) for e, t in zip(*judged.values(), strict=True)]
    partner = next((s["partner"] for s in scores if s["is_null"] and s["partner"] is not None), None)
    return (told[0]["text"] if told else ""), trials, partner


def _of_contexts(run: Run, rng: np.random.Generator, feature: int, explainer: str, client: str) -> list[Card]:
    """Cards that ask where a feature fires; each is drawn as a coin falls, so that counting them tells nothing."""
    text, trials, _ = _trials(run, feature, explainer, client)
    sides = [[e for e, fires in trials if fires is side] for side in (False, True)]
    if not text or not all(sides):
        return []
    for side in sides:
        rng.shuffle(side)
    cards = []
    for fires in (rng.random(BLOCK) < 0.5).tolist():
        if sides[fires]:
            shown = sides[fires].pop()
            cards.append(Card("context", feature, explainer, client, shown, fires, text, (shown,)))
    return cards


def _of_explanation(run: Run, rng: np.random.Generator, feature: int, explainer: str, client: str) -> list[Card]:
    """One card: contexts in which a feature fires, and its explanation or that of the partner of its null."""
    text, trials, partner = _trials(run, feature, explainer, client)
    contexts = [example for example, fires in trials if fires]
    own = bool(rng.random() < 0.5)
    rng.shuffle(contexts)
    if not own and partner is not None:
        told = [t[3] for t in run.store.texts([partner]) if t[1:3] == (explainer, client)]
        text = told[0] if told else ""
    if not text or not contexts or (not own and partner is None):
        return []
    shown = str(feature if own else partner)
    return [Card("explanation", feature, explainer, client, shown, own, text, tuple(contexts[:BLOCK]))]


def _blind(run: Run, card: Card) -> dict[str, Any]:
    """What is shown of a card. Where a feature fires is shown only when the question is not whether it does."""
    contexts = run.contexts
    if contexts is None:
        why = run.why_no_cache or {}
        raise UsageError(why.get("missing", "The cache of this run is missing."))
    found = [c for c in contexts.examples(card.feature, list(card.contexts)) if c is not None]
    hidden = {"row", "id", "title", "start", "of", "notes", "whole"}
    if card.kind == "context":
        hidden |= {"at", "v"}
    return {"text": card.text, "contexts": [{k: v for k, v in c.items() if k not in hidden} for c in found]}


def about(run: Run) -> dict[str, Any]:
    """How much was rated, for a static site."""
    return {"n": run.store.ratings().num_rows if run.has_study else 0}


PAGE = Page(
    scripts=("rating.js",),
    payloads={"ratings": results},
    actions={"rating-deal": deal, "rating-answer": answer},
    exported=lambda run: ["ratings"],
    about=about,
)
