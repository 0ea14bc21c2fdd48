"""Patterns, positions and logos against loops over a dense matrix, and against shapes that were planted."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.analysis import firing, logos, shapes
from autointerp.corpus import Corpus
from autointerp.corpus.planted import planted_proteome
from tests.doubles import make_corpus, random_documents, random_proteins, write_cache
from tests.studies import MOTIFS, planted_study


def found(cache: Any, group: np.ndarray, above: float, chunk: int) -> dict[str, np.ndarray]:
    """All columns of the shapes of all features."""
    tokens, parts = firing.Tokens.of(cache), []
    for fired in firing.fired(cache, tokens, above * cache.statistics["max"], chunk):
        parts.append(shapes.shapes(fired, firing.strongest(fired, group), tokens.length))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def brute(column: np.ndarray, offsets: np.ndarray, group: np.ndarray, above: float) -> dict[str, Any]:
    """The same of one feature, token by token."""
    top = column.max()
    best: dict[int, tuple] = {}
    mass, n = [], 0
    for s in range(len(offsets) - 1):
        values = column[offsets[s] : offsets[s + 1]]
        mass += [(v, (i + 0.5) / len(values)) for i, v in enumerate(values.tolist()) if v > 0]
        on = [i for i, v in enumerate(values) if v > above * top]
        if not on:
            continue
        n += 1
        runs = [[on[0]]]
        for i in on[1:]:
            if i == runs[-1][-1] + 1:
                runs[-1].append(i)
            else:
                runs.append([i])
        peak = int(values.argmax())
        (around,) = (run for run in runs if peak in run)
        gaps = [b[0] - a[0] for a, b in itertools.pairwise(runs)]
        row = (-values.max(), s, len(around), len(runs), len(on) / len(values), gaps)
        best[group[s]] = min(best.get(group[s], row), row)
    rows = sorted(best.values())[: firing.STRONGEST]
    gaps = Counter(g for row in rows for g in row[5])
    total = sum(v for v, _ in mass)
    if not total:
        return {"pattern": "dead", "n": 0}
    mean = sum(v * p for v, p in mass) / total
    return {
        "n": n,
        "median_run": np.median([row[2] for row in rows]),
        "coverage": np.median([row[4] for row in rows]),
        "periodicity": sum(sorted(gaps.values())[-2:]) / sum(gaps.values()) if gaps else np.nan,
        "position_mean": mean,
        "position_sd": (sum(v * (p - mean) ** 2 for v, p in mass) / total) ** 0.5,
        "position_start": sum(v for v, p in mass if p < 0.2) / total,
        "position_end": sum(v for v, p in mass if p > 0.8) / total,
    }


@pytest.mark.parametrize("above", [0.0, 0.3])
@pytest.mark.parametrize("chunk", [1 << 19, 40])
def test_shapes_equal_a_search_over_tokens_however_they_are_cut(tmp_path: Path, above: float, chunk: int) -> None:
    rng = np.random.default_rng(0)
    texts = random_proteins(60, (1, 40), 1)
    group = rng.integers(0, 45, len(texts))
    corpus = make_corpus(tmp_path / "corpus", texts, group.tolist())
    offsets = np.cumsum([0, *map(len, texts)])
    shape = (int(offsets[-1]), 7)
    dense = rng.integers(1, 17, shape) / 8 * (rng.random(shape) < [0.9, 0.5, 0.2, 0.05, 0.01, 0, 1.0])
    cache = write_cache(tmp_path / "cache", dense, corpus)
    ours = found(cache, group, above, chunk)
    for feature, column in enumerate(dense.T):
        expected = brute(column, offsets, group, above)
        if not expected.pop("n"):
            assert ours["pattern"][feature] == "dead"
            continue
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name][feature], value, rtol=1e-6, atol=1e-9, err_msg=f"{name} {feature}")


def test_planted_patterns_are_found(tmp_path: Path) -> None:
    length, n = 600, 12
    corpus = make_corpus(tmp_path / "corpus", random_proteins(n, (length, length)))
    wanted = {
        "point": [slice(5, 6)], "short": [slice(0, 12), slice(300, 310)], "medium": [slice(200, 240)],
        "long": [slice(50, 300)], "whole": [slice(3, 598)], "other": [slice(100, 500)],
        "periodic": [slice(i, i + 2) for i in range(10, 500, 7)], "few": [slice(5, 6)], "dead": [],
    }  # fmt: skip
    dense = np.zeros((n, length, len(wanted)), np.float32)
    for feature, (name, spans) in enumerate(wanted.items()):
        for span in spans:
            dense[: 4 if name == "few" else n, span, feature] = 1 + np.arange(length)[span] % 3
    cache = write_cache(tmp_path / "cache", dense.reshape(n * length, -1), corpus)
    ours = found(cache, np.arange(n), 0.1, 1 << 19)
    assert ours["pattern"].tolist() == list(wanted)
    assert ours["period"][list(wanted).index("periodic")] == 7
    assert ours["position_class"][:4].tolist() == ["start", "start", "none", "none"]


def test_the_logo_of_a_planted_motif_is_the_motif(tmp_path: Path) -> None:
    cache, corpus = planted_study(tmp_path)
    tables = rows_of_logo(cache, corpus)
    background = Counter(r for i in range(len(corpus)) for r in corpus.text(i))
    total = sum(background.values())
    for feature, motif in enumerate(MOTIFS):
        top = {r["offset"]: r for r in reversed([r for r in tables if r["feature"] == feature])}
        assert "".join(top[o]["symbol"] for o in (-1, 0, 1)) == motif
        q = background[motif[1]] / total
        n = top[0]["n"]
        p = (n + 2 * q) / (n + 2)
        assert top[0]["count"] == n
        assert top[0]["bits"] == pytest.approx(p * np.log2(p / q), rel=1e-5)


def rows_of_logo(cache: Any, corpus: Corpus) -> list[dict[str, Any]]:
    tokens, alphabet = firing.Tokens.of(cache), logos.Alphabet.of(cache, corpus)
    top, rows = cache.statistics["max"], []
    for fired in firing.fired(cache, tokens, 0.1 * top):
        strongest = firing.strongest(fired, np.asarray(corpus.groups))
        own = top[fired.first : fired.first + fired.n]
        rows += logos.logos(fired, strongest, own, tokens, np.asarray(cache.tokens), alphabet).to_pylist()
    return rows


def test_homologues_count_once_and_ends_are_left_out(tmp_path: Path) -> None:
    texts = ["WAAAAAAAAAAAAAAAAAAA"] * 30 + ["CAAAAAAAAAAAAAAAAAAA"] * 3 + ["G" * 20] * 9
    corpus = make_corpus(tmp_path / "corpus", texts, [0] * 30 + [1, 2, 3] + list(range(4, 13)))
    dense = np.zeros((len(texts), 20, 1), np.float32)
    dense[:33, 0] = 1
    rows = rows_of_logo(write_cache(tmp_path / "cache", dense.reshape(-1, 1), corpus, n_shards=1), corpus)
    assert [(r["symbol"], r["count"], r["n"]) for r in rows if r["offset"] == 0] == [("C", 3, 4)]
    assert {r["offset"] for r in rows} <= set(range(11))


def test_symbols_of_a_text_are_what_its_tokens_show(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_documents(20, (5, 30)), kind="text")
    from tests.doubles import FakeSubject

    subject = FakeSubject("text")
    windows = subject.tokenize(corpus.texts(range(20)))
    cache = write_cache(tmp_path / "cache", np.ones((sum(len(w.ids) for w in windows), 1)), corpus, subject, n_shards=1)
    alphabet = logos.Alphabet.of(cache, corpus)
    shown: dict[int, set[str]] = {}
    for row, window in enumerate(windows):
        for i, end in enumerate(window.ends.tolist()):
            begin = int(window.ends[i - 1]) if i else 0
            shown.setdefault(int(window.ids[i]), set()).add(corpus.text(row)[begin:end])
    for token, texts in shown.items():
        assert alphabet.symbol[token] in texts or alphabet.symbol[token] == f"<{token}>"
    assert alphabet.share.sum() == pytest.approx(1)


def test_the_planted_proteome_gives_its_elements_back(tmp_path: Path) -> None:
    proteome = planted_proteome(400, seed=1)
    corpus = Corpus.write(
        tmp_path / "corpus", proteome.sequences, proteome.annotations, kind="protein", source={}, grouping={}
    )
    regions = proteome.annotations.to_pydict()
    names = sorted(set(regions["label"]))
    offsets = np.concatenate([[0], np.cumsum(corpus.lengths)])
    dense = np.zeros((int(offsets[-1]), len(names)), np.float32)
    for row, start, end, label in zip(*(regions[c] for c in ("sequence", "start", "end", "label")), strict=True):
        inside = dense[offsets[row] + start : offsets[row] + end, names.index(label)]
        inside[:] = 1
        inside[0] = 2  # the peak is the first residue
    cache = write_cache(tmp_path / "cache", dense, corpus)
    ours = found(cache, np.asarray(corpus.groups), 0.1, 1 << 19)
    shape = dict(zip(names, ours["pattern"].tolist(), strict=True))
    place = dict(zip(names, ours["position_class"].tolist(), strict=True))
    assert shape["disulfide bond"] == "point"
    assert shape["KDEL"] == shape["RGD"] == shape["polyQ"] == shape["P-loop"] == "short"
    assert (place["signal peptide"], place["KDEL"], place["RGD"], place["polyQ"]) == ("start", "end", "none", "none")
    logo: dict[tuple[str, int], str] = {}
    for row in rows_of_logo(cache, corpus):
        logo.setdefault((names[row["feature"]], row["offset"]), row["symbol"])
    for name, motif in (
        ("KDEL", "KDEL"),
        ("RGD", "RGD"),
        ("polyQ", "QQQQ"),
        ("polyS", "SSSS"),
        ("signal peptide", "M"),
    ):
        assert "".join(logo[name, i] for i in range(len(motif))) == motif
    assert logo["disulfide bond", 0] == "C"
    assert logo["N-glycosylation", 0] == "N"
