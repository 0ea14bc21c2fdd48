"""``autointerp spend``: what a run has cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

if TYPE_CHECKING:
    from autointerp.store import Spend


@dataclass(frozen=True)
class Config:
    """Say what a run has cost: dollars confirmed, maybe billed and in flight, tokens, by model."""

    run: Annotated[Path, Positional]
    """Folder of the run."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Print a line per model, their sum, and failed attempts by kind."""
    from autointerp.store import RunStore

    with RunStore.open(config.run, readonly=True) as store:
        by_model, total, failures = store.spend_by_model(), store.spend(), store.failures()
    rows = [HEADER, *((name, *cells(spend)) for name, spend in by_model.items())]
    if len(by_model) != 1:
        rows.append(("all", *cells(total)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    for name, *numbers in rows:
        print(f"{name:<{widths[0]}}", *(f"{n:>{w}}" for n, w in zip(numbers, widths[1:], strict=True)), sep="  ")
    print(f"\nat most ${total.total_usd:.4f}: confirmed, and the worst case of what is maybe billed or in flight")
    if total.unpriced:
        print(
            f"{total.unpriced:,} answers have no known price and are not in it; add ?price=IN,OUT to the model string"
        )
    if failures:
        print("failed attempts: " + ", ".join(f"{kind} {count:,}" for kind, count in failures.items()))


HEADER = (
    "model", "sent", "answered", "in flight", "confirmed $", "maybe $", "in flight $", "unpriced",
    "tokens in", "of these cached", "tokens out",
)  # fmt: skip


def cells(spend: Spend) -> tuple[str, ...]:
    """The numbers under ``HEADER``."""
    counts = (spend.attempts, spend.answers, spend.in_flight)
    dollars = (spend.confirmed_usd, spend.maybe_usd, spend.reserved_usd)
    rest = (spend.unpriced, spend.input_tokens, spend.cached_tokens, spend.output_tokens)
    return (*(f"{n:,}" for n in counts), *(f"{usd:.4f}" for usd in dollars), *(f"{n:,}" for n in rest))
