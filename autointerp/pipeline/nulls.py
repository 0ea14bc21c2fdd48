"""Paired nulls: a feature's trials judged with the explanation of its partner in a seeded derangement of its block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autointerp.records import Explanation

BLOCK = 64
"""Requested features in one block: the unit within which partners are drawn, and that one worker claims."""


@dataclass
class Block:
    """One block of requested features and what came of them; partners are known once all of them are resolved.

    Attributes
    ----------
    features : all that were requested. waiting : whose explanation is under way.
    closed : no more of them will be begun. running : features and nulls under way.
    """

    number: int
    seed: int
    features: Sequence[int] = ()
    waiting: set[int] = field(default_factory=set)
    explanations: dict[int, Explanation] = field(default_factory=dict)
    closed: bool = False
    running: int = 0

    def resolve(self, feature: int, explanation: Explanation | None) -> None:
        """Note what came of one feature."""
        self.waiting.discard(feature)
        if explanation is not None and explanation.failure is None:
            self.explanations[feature] = explanation

    @property
    def ready(self) -> bool:
        """Whether every feature of the block is resolved."""
        return self.closed and not self.waiting

    def partners(self) -> dict[int, int]:
        """Feature to partner, a single random cycle over the explained features: nobody is their own partner.

        Empty when fewer than two features are explained.
        """
        features = sorted(self.explanations)
        if len(features) < 2:
            return {}
        order = np.random.default_rng([self.seed, self.number]).permutation(features).tolist()
        return dict(zip(order, order[1:] + order[:1], strict=True))
