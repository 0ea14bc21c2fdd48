"""Sparse gradients against dense autograd, and the auxiliary loss."""

from __future__ import annotations

import pytest
import torch

from training.topk import TopK, aux_loss, losses

N, D, M, K = 64, 12, 40, 5
NO_DEAD = torch.empty(0, dtype=torch.int64)


def model(dtype: torch.dtype = torch.float64) -> TopK:
    x = batch(1, dtype)
    made = TopK.initial(x, M, 0)
    with torch.no_grad():
        for tensor in vars(made).values():
            tensor += 0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(5), dtype=dtype)
    made.normalise()
    return made


def batch(seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 + 3


def dense_unexplained(m: TopK, x: torch.Tensor, k: int) -> torch.Tensor:
    """The same loss by dense autograd."""
    pre = (x - m.b_dec) @ m.encoder.T + m.b_enc
    kept = torch.zeros_like(pre).scatter(1, pre.topk(k).indices, 1.0)
    out = (pre.relu() * kept) @ m.decoder + m.b_dec
    return ((x - out) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


@pytest.mark.parametrize("k", [1, K, 30])
def test_loss_and_gradients_are_those_of_dense_autograd(k: int) -> None:
    sparse, dense, x = model(), model(), batch()
    unexplained, auxiliary, fired = losses(sparse, x, k, NO_DEAD)
    unexplained.backward()
    expected = dense_unexplained(dense, x, k)
    expected.backward()
    torch.testing.assert_close(unexplained, expected)
    assert auxiliary == 0
    for name, tensor in vars(sparse).items():
        torch.testing.assert_close(tensor.grad, vars(dense)[name].grad, msg=lambda text, name=name: f"{name}: {text}")
    pre = (x - dense.b_dec) @ dense.encoder.T + dense.b_enc
    assert len(fired) == (pre.topk(k).values > 0).sum()


def test_the_loss_has_no_scale() -> None:
    m, x = model(), batch()
    scaled = TopK(m.encoder, m.b_enc * 1000, m.decoder, m.b_dec * 1000)
    torch.testing.assert_close(losses(scaled, x * 1000, K, NO_DEAD)[0], losses(m, x, K, NO_DEAD)[0])


def test_aux_loss_is_its_definition() -> None:
    m, x, dead = model(), batch(), torch.tensor([3, 7, 8, 11, 20, 21, 30, 39])
    residual = batch(8)
    pre = ((x - m.b_dec) @ m.encoder.T + m.b_enc).detach()
    error = torch.zeros(())
    for i in range(N):
        best = sorted(dead.tolist(), key=lambda j: -float(pre[i, j]))[: D // 2]
        explained = sum(max(float(pre[i, j]), 0.0) * m.decoder[j] for j in best)
        error = error + (residual[i] - explained).square().sum()
    torch.testing.assert_close(aux_loss(m, x, residual, dead), error / (residual - residual.mean(0)).square().sum())


def test_aux_loss_trains_the_dead_and_only_the_dead() -> None:
    m, x, dead = model(), batch(), torch.tensor([2, 5, 17])
    with torch.no_grad():
        m.encoder[dead] *= 1e-3  # positive before the selection, but never among the k
        m.b_enc[dead] = 1e-3
    _, auxiliary, fired = losses(m, x, 1, dead)
    assert not set(dead.tolist()) & set(fired.tolist())
    auxiliary.backward()
    alive = torch.ones(M, dtype=torch.bool)
    alive[dead] = False
    for tensor in (m.encoder, m.decoder, m.b_enc):
        assert tensor.grad is not None
        assert (tensor.grad[dead].reshape(3, -1).norm(dim=1) > 1e-9).all()
        assert (tensor.grad[alive] == 0).all()
    assert m.b_dec.grad is None


def test_projection_and_normalisation_keep_unit_rows() -> None:
    m, x = model(torch.float32), batch(0, torch.float32)
    optimizer = torch.optim.Adam(vars(m).values(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        losses(m, x, K, NO_DEAD)[0].backward()
        m.project_gradient()
        assert (m.decoder.grad * m.decoder).sum(1).abs().max() < 1e-5
        optimizer.step()
        m.normalise()
        torch.testing.assert_close(m.decoder.detach().norm(dim=1), torch.ones(M))


def test_initial_parameters() -> None:
    x = batch(0, torch.float32)
    m = TopK.initial(x, M, 4)
    assert torch.equal(m.encoder, m.decoder)
    torch.testing.assert_close(m.decoder.detach().norm(dim=1), torch.ones(M))
    torch.testing.assert_close(m.b_dec.detach(), x.mean(0))
    assert torch.equal(m.encoder, TopK.initial(x, M, 4).encoder)
    assert not torch.equal(m.encoder, TopK.initial(x, M, 5).encoder)
