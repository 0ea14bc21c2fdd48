"""What decides the outcome of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autointerp.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training; all of them are recorded in the coder's manifest.

    Raises
    ------
    UsageError : a value outside its range.
    """

    tokens: int = 1_000_000
    """How many tokens to train on (sequences at level sequence); a short corpus is read several times."""
    n_features: int | None = None
    """Features of the coder; by default the expansion times the width of the hook."""
    expansion: int = 16
    """Features for each dimension of the hook, where their number is not given."""
    k: int = 16
    """Features that may be active in a token."""
    level: Literal["token", "sequence"] = "token"
    """Train on the state of each token, or on the mean over each sequence."""
    batch_size: int = 2048
    """Tokens in a training step."""
    learning_rate: float | None = None
    """Peak rate of Adam; by default 2e-3 for 1,024 features, falling with the square root of their number."""
    warmup: float = 0.05
    """Share of the steps over which the rate rises from zero."""
    decay: float = 0.3
    """Share of the steps, at the end, over which the rate falls to zero."""
    aux_coefficient: float = 1 / 32
    """Weight of the auxiliary loss that revives dead features."""
    dead_after: int | None = None
    """Tokens without firing that make a feature dead; by default a thirtieth of all tokens, at most 10 million."""
    held_out: float = 0.05
    """Share of the sequences, whole groups of them, kept for the final evaluation."""
    seed: int = 0
    """Seed of the initial weights, the order of the sequences, the shuffling and the held-out groups."""
    buffer_mb: int = 256
    """Megabytes of states that are shuffled together; a corpus that fits is run through the subject only once."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for name in (
            "tokens",
            "n_features",
            "expansion",
            "k",
            "batch_size",
            "dead_after",
            "buffer_mb",
            "checkpoint_every",
        ):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        for name in ("warmup", "decay", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: must be at least 0 and below 1")
        if self.level not in ("token", "sequence"):
            raise UsageError(f"level {self.level!r}: valid are token, sequence")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise UsageError(f"learning_rate {self.learning_rate}: must be above 0")
        if self.tokens < self.batch_size:
            raise UsageError(
                f"tokens {self.tokens}: fewer than one batch; give more, or a batch_size below {self.batch_size}"
            )

    def width(self, d_in: int) -> int:
        """Number of features on states of width ``d_in``."""
        n_features = self.n_features or self.expansion * d_in
        if self.k > n_features:
            raise UsageError(f"k {self.k}: more than the {n_features} features")
        return n_features

    def rate(self, n_features: int) -> float:
        """Peak learning rate for so many features."""
        return self.learning_rate or 2e-3 * (1024 / n_features) ** 0.5

    @property
    def n_steps(self) -> int:
        """Training steps."""
        return self.tokens // self.batch_size

    @property
    def silence(self) -> int:
        """Tokens without firing that make a feature dead."""
        return self.dead_after or min(self.tokens // 30, 10_000_000)
