"""Direct logit attribution: what a feature's direction, added to the last state, does to the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autointerp.errors import UsageError
from autointerp.records import LogitRequest

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.subjects import Subject


def direct_effect(subject: Subject, coder: SparseCoder, request: LogitRequest) -> dict[str, list[tuple[str, float]]]:
    """``promoted`` and ``suppressed``: (token, change of its logit), the largest changes first.

    Raises
    ------
    UsageError : the subject predicts nothing, or the decoder is not as wide as its residual stream.

    Notes
    -----
    logits(μ + s·d) − logits(μ), μ the mean over the texts of the state before the final norm, d the feature's decoder
    row and s ``request.scale``: what remains of direct logit attribution where the head is not linear, as ESM-2's is
    not (norm, dense, GELU, norm). What later layers make of the direction is not in it.
    """
    import torch

    from autointerp.subjects.protocol import needs_predictor
    from autointerp.subjects.readout import mean_state, read_out, spoken_of, token_texts

    model = needs_predictor(subject)
    if coder.d_out != subject.d_model:
        raise UsageError(
            f"the decoder is {coder.d_out} wide, the residual stream of {subject.name} {subject.d_model}: its features "
            "have no direct effect on the logits"
        )
    ids = [t.ids[: subject.context_length] for t in subject.tokenize(request.texts)]
    ids = [i for i in ids if len(i)]
    if not ids:
        raise UsageError("texts of no tokens: there is no mean state to add the direction to")
    with torch.inference_mode():
        mean = mean_state(model, ids)
        step = coder.decoder[request.feature].to(mean) * request.scale
        plain, moved = read_out(model, torch.stack([mean, mean + step]), int(ids[0][0])).cpu()
    change = (moved - plain).numpy()
    tokens = spoken_of(subject)
    order = tokens[np.argsort(-change[tokens], kind="stable")]
    risen = np.count_nonzero(change[order] > 0)
    fallen = np.count_nonzero(change[order] < 0)
    ends = {"promoted": order[: min(risen, request.top)], "suppressed": order[::-1][: min(fallen, request.top)]}
    return {
        side: list(zip(token_texts(subject, chosen), change[chosen].tolist(), strict=True))
        for side, chosen in ends.items()
    }
