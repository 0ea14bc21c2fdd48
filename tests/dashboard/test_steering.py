"""Steering against edits written out by hand, on a protein model and on a language model; and in a browser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.clients.local.studied import Studied
from autointerp.dashboard.run import Run
from autointerp.dashboard.steering import N_ROWS, _steered, steer, steerable
from autointerp.errors import UsageError
from tests.dashboard.planted import HOOK, N_FEATURES, Browser

TEXT = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"


def by_hand(planted: Path, feature: int, change: Any, masked: int | None = None) -> tuple[Any, Any]:
    """Log-probabilities (n, 33) before and after; ``change`` maps the feature's activations (n,) to the new ones."""
    from autointerp.coders import load_coder
    from autointerp.subjects import load_subject
    from autointerp.subjects.protocol import needs_predictor

    subject, coder = needs_predictor(load_subject("planted-esm")), load_coder(planted.parent / "coder")
    window = subject.tokenize([TEXT])[0].ids
    hidden = None if masked is None else np.array([masked])

    def edit(states: Any, windows: Any) -> Any:
        dense = coder.encode(states).dense()
        changed = dense.clone()
        changed[:, feature] = change(dense[:, feature])
        return states + _decoded(coder, states, changed) - _decoded(coder, states, dense)

    clean = subject.predict([window], masked=hidden).log_softmax(1)
    return clean, subject.predict([window], edits={HOOK: edit}, masked=hidden).log_softmax(1)


@pytest.mark.parametrize(("how", "value"), [("clamp", 3.0), ("scale", -2.0)])
def test_predictions_are_those_of_an_edit_by_hand(run: Run, planted: Path, how: str, value: float) -> None:
    import torch

    def change(a: Any) -> Any:
        return torch.full_like(a, value) if how == "clamp" else a * value

    found = steer(run, {"text": TEXT, "feature": 1, "how": how, "value": str(value)})
    clean, steered = by_hand(planted, 1, change)
    kl = (clean.exp() * (clean - steered)).sum(1)
    assert found["kl"] == pytest.approx(kl.numpy(), rel=1e-2, abs=1e-4)
    assert found["after"] == pytest.approx(change(torch.tensor(found["before"])).numpy(), rel=1e-3)
    assert [row["at"] for row in found["rows"]] == sorted(np.argsort(-kl.numpy(), kind="stable")[:N_ROWS].tolist())
    for row in found["rows"][:3]:
        clean, steered = by_hand(planted, 1, change, row["at"])
        ids = {"LAGVSERTIDPKQNFYMHWC"[i]: 4 + i for i in range(20)}
        for token, before, after in row["tokens"]:
            assert before == pytest.approx(float(clean[row["at"], ids[token]].exp()), abs=1e-4)
            assert after == pytest.approx(float(steered[row["at"], ids[token]].exp()), abs=1e-4)
        assert row["token"] == TEXT[row["at"]]


def test_nothing_changes_where_nothing_is_changed(run: Run) -> None:
    found = steer(run, {"text": TEXT, "feature": 1, "how": "scale", "value": 1})
    assert max(found["kl"]) < 1e-5
    assert found["before"].tolist() == found["after"].tolist()


def test_only_some_positions_and_rows(run: Run) -> None:
    found = steer(run, {"text": TEXT, "feature": 1, "how": "clamp", "value": 5, "where": "10-12", "at": "1-3, 11"})
    changed = np.flatnonzero(found["before"] != found["after"])
    assert set(changed) <= {9, 10, 11}
    assert len(changed) >= 1
    assert [row["at"] for row in found["rows"]] == [0, 1, 2, 10]


def test_a_coder_that_normalises_and_writes_elsewhere(planted: Path) -> None:
    """What is added is the change of the coder's own reconstruction, at the hook that it writes to."""
    import torch

    from autointerp.coders import SparseCoder, load_coder
    from autointerp.subjects import load_subject
    from autointerp.subjects.protocol import needs_predictor

    plain = load_coder(planted.parent / "coder")
    skip = torch.eye(plain.d_in) * 0.3
    about = {"metadata": {"target_hook": "layer:3"}, "input_norm": "layer_norm", "skip": skip, "digest": ""}
    coder = SparseCoder(**(plain.__dict__ | about))
    studied = Studied("planted-esm", coder, HOOK, "token")
    found = _steered({"text": TEXT, "feature": 1, "how": "clamp", "value": 4}, studied)
    subject = needs_predictor(load_subject("planted-esm"))
    window = subject.tokenize([TEXT])[0].ids
    x = subject.states([window], [HOOK])[HOOK]
    dense = coder.encode(x).dense()
    clamped = dense.clone()
    clamped[:, 1] = 4
    added = _decoded(coder, x, clamped) - _decoded(coder, x, dense)
    clean = subject.predict([window]).log_softmax(1)
    steered = subject.predict([window], edits={"layer:3": lambda states, windows: states + added}).log_softmax(1)
    assert found["hook"] == "layer:3"
    assert found["kl"] == pytest.approx((clean.exp() * (clean - steered)).sum(1).numpy(), rel=1e-2, abs=1e-4)


def _decoded(coder: Any, x: Any, dense: Any) -> Any:
    """The whole reconstruction from dense codes."""
    import torch

    from autointerp.coders import Codes

    rows, features = dense.nonzero(as_tuple=True)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), (dense != 0).sum(1).cumsum(0)])
    return coder.reconstruct(x, Codes(indptr, features, dense[rows, features], dense.shape[1]))


def test_one_activation_for_the_whole_sequence(planted: Path) -> None:
    studied = Studied("planted-esm", str(planted.parent / "coder"), HOOK, "sequence")
    found = _steered({"text": TEXT, "feature": 1, "how": "clamp", "value": 4}, studied)
    assert len(set(found["before"].tolist())) == 1
    assert set(found["after"].tolist()) == {4.0}
    assert max(found["kl"]) > 0


@pytest.mark.parametrize(
    ("body", "said"),
    [({}, "number of a feature"), ({"feature": "x", "value": 1}, "number of a feature"),
     ({"feature": N_FEATURES, "value": 1}, "0 … 47"), ({"feature": 1, "value": "nan"}, "finite"),
     ({"feature": 1, "value": 1, "how": "break"}, "clamp and scale"), ({"feature": 1, "value": 1}, "Paste"),
     ({"feature": 1, "value": 1, "text": "A" * 5000}, "paste fewer"),
     ({"feature": 1, "value": 1, "text": TEXT, "where": "900"}, "56 tokens")],
)  # fmt: skip
def test_what_cannot_be_steered(run: Run, body: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        steer(run, body)


def test_what_is_known_before(run: Run) -> None:
    assert run.cache is not None
    known = steerable(run, "3")
    assert known == {"label": "explanation number 3", "max": pytest.approx(float(run.cache.statistics["max"][3]))}
    for feature in ("48", "x", "-1"):
        with pytest.raises(UsageError):
            steerable(run, feature)


def test_a_language_model(data: Path) -> None:
    from autointerp.coders import load_coder
    from autointerp.subjects import load_subject

    subject = load_subject(data / "models/stories260K")
    coder = load_coder("random?n_features=32&k=4", d_in=64)
    text = "Once upon a time, there was a little dog."
    found = _steered(
        {"text": text, "feature": 3, "how": "clamp", "value": 8}, Studied(subject, coder, "layer:2", "token")
    )
    assert found["causal"]
    assert "".join(text[a:b] for a, b in zip([0, *found["ends"]], found["ends"], strict=False)) == text
    row = max(found["rows"], key=lambda one: one["kl"])
    assert row["kl"] == pytest.approx(max(found["kl"]), rel=2e-2)
    assert sum(after for _, _, after in row["tokens"]) <= 1.001
    assert len({token for token, _, _ in row["tokens"]}) == len(row["tokens"]) >= 4
    assert math.isfinite(row["kl"])


@pytest.mark.full
def test_a_feature_is_steered_in_the_browser(browser: Browser) -> None:
    page = browser.open("steer?feature=2")
    page.get_by_text("explanation number 2").wait_for()
    page.get_by_label("protein sequence").fill(TEXT)
    page.get_by_label("value or factor").first.fill("6")
    page.get_by_role("button", name="Steer").click()
    page.get_by_text("Masked one at a time").wait_for()
    assert page.locator(".steered tbody tr").count() == N_ROWS
    assert "value=6" in page.url
    page.reload()
    page.get_by_text("Masked one at a time").wait_for()
