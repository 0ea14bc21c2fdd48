"""Every architecture finds planted directions, and the generator plants what it says."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autointerp.coders import SparseCoder
from autointerp.coders.controls import random
from autointerp.errors import UsageError
from training.form import Form
from training.model import Model
from training.stream import Batch
from training.synthetic import SyntheticFeatures, recovery

TRUTH = SyntheticFeatures(n_features=40, d=32, active=2.0, noise=0.02, offset=3.0)
STEPS, ROWS, RATE = 500, 256, 5e-3
RECIPES: dict[str, dict[str, Any]] = {
    "topk": {"k": 2, "aux": "gao"},
    "batchtopk": {"k": 2, "aux": "gao", "floor_after": 100, "floor_decay": 0.99},
    "matryoshka": {"k": 2, "aux": "gao", "widths": (16, 64), "floor_after": 100, "floor_decay": 0.99},
    "relu": {"sparsity_coefficient": 0.5, "loss": "sse"},
    "gated": {"sparsity_coefficient": 0.7, "loss": "sse"},
    "jumprelu": {
        "sparsity_coefficient": 1.0,
        "target_l0": 2.0,
        "loss": "sse",
        "bandwidth": 0.2,
        "initial_threshold": 0.3,
    },
}


def fit(form: Form, x: Tensor, y: Tensor) -> SparseCoder:
    """A plain loop: Adam, a rate that falls at the end, the sparsity term rising at the beginning."""
    model = Model.initial(form, Batch(x[:ROWS], y[:ROWS]), 0)
    optimizer = torch.optim.Adam(model.parameters.values(), lr=RATE, fused=True)
    silent = torch.zeros(form.n_features)
    n = len(x) // ROWS
    for step in range(n):
        part = slice(step * ROWS, (step + 1) * ROWS)
        optimizer.param_groups[0]["lr"] = RATE * min(1, (n - step) / (0.4 * n))
        dead = (silent > 20).nonzero().squeeze(1)
        found = model.losses(Batch(x[part], y[part]), pressure=min(1, step / (0.2 * n)), dead=dead)
        optimizer.zero_grad()
        found.total.backward()
        model.constrain_gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters.values(), 1.0)
        optimizer.step()
        model.constrain()
        silent += 1
        silent[found.fired] = 0
    return model.coder({})


def form_of(architecture: str, **further: Any) -> Form:
    sizes = {"n_features": 64, "d_in": 32, "d_out": 32}
    return Form(**{"architecture": architecture} | sizes | RECIPES[architecture] | further)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name == "jumprelu" else pytest.mark.full) for name in RECIPES],
)
def test_every_architecture_recovers_the_dictionary(architecture: str) -> None:
    x, _ = TRUTH.sample(STEPS * ROWS, 7)
    found = recovery(fit(form_of(architecture), x, x), TRUTH)
    assert found.mean_max_cosine > 0.92
    assert found.found > 0.75
    assert found.matched_f1 > 0.6
    assert found.fvu < 0.25
    assert found.l0 < 4


def test_a_random_coder_does_not() -> None:
    for seed in (0, 1):  # a seed like the generator's plants nothing
        found = recovery(random(32, 64, k=2, seed=seed), TRUTH)
        assert found.mean_max_cosine < 0.5
        assert found.found == 0
        assert found.matched_f1 < 0.2
    x, _ = TRUTH.sample(ROWS, 7)
    assert recovery(Model.initial(form_of("topk"), Batch(x, x), 0).coder({}), TRUTH).mean_max_cosine < 0.5


@pytest.mark.full
@pytest.mark.parametrize("architecture", RECIPES)
@pytest.mark.parametrize("wiring", ["transcoder", "crosscoder"])
def test_transcoders_and_crosscoders_recover_it_too(architecture: str, wiring: str) -> None:
    """A transcoder's decoder begins at zero, as in its recipes: its outputs do not lie where its inputs do."""
    more = {"sparsity_coefficient": 2.0} if architecture == "gated" else {}
    x, _ = TRUTH.sample(2 * STEPS * ROWS, 7)
    turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(3))).Q
    if wiring == "transcoder":
        coder = fit(form_of(architecture, transcoder=True, decoder="free", initial="zero-decoder", **more), x, x @ turn)
        decoder = coder.decoder @ turn.T
    else:
        both = torch.cat([x, x @ turn], 1)
        coder = fit(form_of(architecture, n_hooks=2, decoder="free", d_in=64, d_out=64, **more), both, both)
        decoder = coder.decoder[:, :32]
    cosines = TRUTH.directions @ torch.nn.functional.normalize(decoder, dim=1).T
    assert cosines.max(1).values.mean() > 0.9


def test_samples_are_what_the_settings_say() -> None:
    truth = SyntheticFeatures(n_features=50, d=16, active=5, decay=0.5, coefficients="exponential", offset=2)
    x, codes = truth.sample(40_000, 1)
    shares = (codes > 0).float().mean(0)
    torch.testing.assert_close(shares, truth.frequencies, rtol=0.1, atol=0.004)
    assert shares.sum() == pytest.approx(5, rel=0.02)
    assert shares[0] > 3 * shares[-1]
    assert codes[codes > 0].mean() == pytest.approx(1, rel=0.02)
    assert codes[codes > 0].std() == pytest.approx(1, rel=0.03)
    torch.testing.assert_close(x, codes @ truth.directions + truth.centre)
    torch.testing.assert_close(truth.directions.norm(dim=1), torch.ones(50))
    assert truth.centre.norm() == pytest.approx(2)
    assert torch.equal(truth.sample(10, 1)[0], truth.sample(10, 1)[0])
    assert not torch.equal(truth.sample(10, 1)[0], truth.sample(10, 2)[0])


def test_noise_uniform_coefficients_and_correlated_groups() -> None:
    truth = SyntheticFeatures(n_features=40, d=16, active=4, noise=0.3, correlation=0.8, group=4)
    x, codes = truth.sample(20_000, 1)
    assert (x - codes @ truth.directions).std() == pytest.approx(0.3, rel=0.01)
    assert 0.5 <= codes[codes > 0].min() <= codes.max() <= 1.5
    together = np.corrcoef((codes > 0).numpy().T)
    same = np.arange(40)[:, None] // 4 == np.arange(40) // 4
    assert together[same & ~np.eye(40, dtype=bool)].min() > 0.3
    assert abs(together[~same]).max() < 0.05


def test_recovery_is_its_definition() -> None:
    truth = SyntheticFeatures(n_features=5, d=6, active=2, noise=0.1)
    g = torch.Generator().manual_seed(0)
    decoder = torch.randn(6, 6, generator=g)
    coder = SparseCoder("relu", torch.randn(6, 6, generator=g), torch.zeros(6), decoder, torch.zeros(6))
    found = recovery(coder, truth, n=300, seed=3)
    x, codes = truth.sample(300, 3)
    z = coder.encode(x).dense()
    cosines = np.array([[float(torch.cosine_similarity(t, w, dim=0)) for w in decoder] for t in truth.directions])
    assert found.mean_max_cosine == pytest.approx(cosines.max(1).mean(), rel=1e-5)
    assert found.found == (cosines.max(1) > 0.9).mean()
    matched = max(permutations(range(6), 5), key=lambda order: sum(cosines[i, j] for i, j in enumerate(order)))
    scores = []
    for i, j in enumerate(matched):
        true, hit = codes[:, i] > 0, z[:, j] > 0
        scores.append(float(2 * (true & hit).sum() / (true.sum() + hit.sum())))
    assert found.matched_f1 == pytest.approx(np.mean(scores), rel=1e-5)
    assert found.l0 == pytest.approx(float((z > 0).float().sum(1).mean()))
    assert found.fvu == pytest.approx(float((x - coder(x)).square().sum() / (x - x.mean(0)).square().sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"active": 41}, "active 41: must be above 0 and at most n_features = 40"),
        ({"correlation": 1.0}, "correlation 1.0"),
        ({"coefficients": "normal"}, "valid are uniform, exponential"),
        ({"active": 20, "decay": 2.0}, "more than always"),
        ({"noise": -1}, "noise -1"),
        ({"group": 0}, "group 0"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SyntheticFeatures(**{"n_features": 40, "d": 32} | change)
