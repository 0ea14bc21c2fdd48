"""Family specificity against loops over proteins, planted families, and the command."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from autointerp.biology import families as rooms
from autointerp.biology.families import PARTS, THRESHOLDS, families_of, family_specificity
from autointerp.cache import ActivationCache
from autointerp.commands import main
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from autointerp.features.splits import assign_sides
from tests.doubles import make_corpus, random_proteins, write_cache


@pytest.fixture(params=[0, 1])
def made(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[ActivationCache, Corpus, np.ndarray, list[set[str]]]:
    """60 proteins, up to two families each, groups of up to three; 9 features, the last of which never fires."""
    rng, n = np.random.default_rng(request.param), 60
    own = [set(rng.choice(["a", "b", "c", "d, e"], rng.integers(0, 3), replace=False).tolist()) for _ in range(n)]
    written = ["; ".join(sorted(names)) or None for names in own]
    groups = np.sort(rng.integers(0, 25, n)).tolist()
    corpus = make_corpus(tmp_path / "corpus", random_proteins(n, (2, 6)), groups=groups, protein_families=written)
    offsets = np.cumsum([0, *corpus.lengths.tolist()])
    dense = rng.integers(1, 33, (offsets[-1], 9)) / 32 * (rng.random((offsets[-1], 9)) < 0.3)
    dense[:, 1] = 0
    for protein, names in enumerate(own):
        dense[offsets[protein], 1] = 1.0 if "a" in names else 0.25
    dense[:, 8] = 0
    cache = write_cache(tmp_path / "cache", dense.astype(np.float32), corpus)
    highest = np.stack([dense[a:b].max(0) for a, b in pairwise(offsets)])
    return cache, corpus, highest, [set(", ".join(names).split(", ")) - {""} for names in own]


def by_hand(highest: np.ndarray, own: list[set[str]], choosing: np.ndarray, known: np.ndarray) -> dict[int, tuple]:
    """Feature to (family, threshold, F1 on the choosing half, F1, precision, recall on the other half)."""
    found = {}
    for feature in range(highest.shape[1]):
        column = np.where(known, highest[:, feature], -1)
        if column.max() <= 0:
            continue
        best = None
        for family in sorted(own[int(column.argmax())]):
            truth = np.array([family in names for names in own])
            for threshold in THRESHOLDS:
                called = highest[:, feature] / column.max() > np.float32(threshold)
                hits, either = (truth & called & choosing).sum(), (truth & choosing).sum() + (called & choosing).sum()
                if best is None or 2 * hits / max(either, 1) > best[2] + 1e-12:
                    best = (family, threshold, 2 * hits / max(either, 1), truth[~choosing], called[~choosing])
        if best:
            scores = [f(*best[3:], zero_division=0) for f in (f1_score, precision_score, recall_score)]
            found[feature] = (*best[:3], *scores)
    return found


@pytest.mark.parametrize("chunk", [4, 512])
def test_every_feature_is_the_loops(
    made: tuple[ActivationCache, Corpus, np.ndarray, list[set[str]]], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, corpus, highest, own = made
    monkeypatch.setattr(rooms, "CHUNK", chunk)
    study = family_specificity(cache, corpus, families_of(corpus), seed=3)
    units = {"interprot": np.arange(60), "held-out": np.asarray(corpus.groups)}
    for part in PARTS:
        choosing = assign_sides(units[part], (0.5, 0.0, 0.5), 3) == 0
        known = choosing if part == "held-out" else np.ones(60, bool)
        names = own
        if part == "held-out":
            both = set.union(*(own[i] for i in np.flatnonzero(choosing))) & set.union(
                *(own[i] for i in np.flatnonzero(~choosing))
            )
            names = [families & both for families in own]
        expected = by_hand(highest, names, choosing, known)
        rows = {row["feature"]: row for row in study.table.to_pylist() if row["part"] == part}
        assert rows.keys() == expected.keys()
        for feature, truth in expected.items():
            row = rows[feature]
            found = [row[n] for n in ("family", "threshold", "chosen_f1", "f1", "precision", "recall")]
            assert found == [truth[0], *map(pytest.approx, truth[1:])]
            assert row["n_members"] == sum(row["family"] in own[i] for i in np.flatnonzero(~choosing))
            assert row["family"] in own[corpus.ids.index(row["top_protein"])]
        assert rows[1]["family"] == "a"
        assert rows[1]["f1"] == 1.0
        counts = study.counts[part]
        assert counts["never_fire"] == 9 - (np.where(known[:, None], highest, 0).max(0) > 0).sum()
        assert counts["specific"] == sum(row["f1"] > 0.7 for row in rows.values())
        assert counts["strongest_protein_without_family"] == 9 - counts["never_fire"] - len(rows)


def test_families_dealt_anew_are_found_no_better_than_by_chance(tmp_path: Path) -> None:
    """Twelve features, each strong in the 8 of 96 proteins of its family: specific; none is by chance."""
    family = np.arange(96) % 12
    corpus = make_corpus(tmp_path / "corpus", random_proteins(96, (3, 3)), protein_families=[f"f{i}" for i in family])
    dense = np.zeros((96, 3, 12), np.float32)
    dense[np.arange(96), 0, family] = 1 + (np.arange(96) // 12) / 8
    study = family_specificity(
        write_cache(tmp_path / "cache", dense.reshape(-1, 12), corpus), corpus, families_of(corpus), null_draws=3
    )
    for part in PARTS:
        assert study.counts[part]["specific"] == 12
        assert study.counts[part]["specific_by_chance"] == 0
    rows = study.table.to_pylist()
    assert {row["p"] for row in rows} == {1 / 37}  # 36 null F1, all lower
    assert max(row["null_f1"] for row in rows) < 0.5


def test_where_families_come_from(tmp_path: Path) -> None:
    texts = ["ACDEFGHIKL"] * 4
    rows = [(0, 1, 5, "Pfam", "PF00001", 0), (0, 6, 9, "Pfam", "PF00001", 1), (1, 0, 4, "Domain", "SH3", 2),
            (2, 0, 4, "Domain", "any", 3)]  # fmt: skip
    regions = ['PF00067 3..9 /note="p450"; PF00069 1..2', None, "PF00067 1..4", ""]
    corpus = make_corpus(tmp_path / "c", texts, annotations=rows, xref=regions)

    def of(column: str | None) -> list[set[str]]:
        found = families_of(corpus, column)
        return [set(found.names[found.member[[i]].indices].tolist()) for i in range(4)]

    assert of(None) == of("pfam") == [{"PF00001"}, set(), set(), set()]  # a type of annotations, each family once
    assert families_of(corpus).member.max() == 1
    assert of("domain") == [set(), {"SH3"}, set(), set()]
    assert of("xref") == [{"PF00067", "PF00069"}, set(), {"PF00067"}, set()]
    with pytest.raises(UsageError, match=r"--column pfams: .*did you mean 'Pfam'"):
        families_of(corpus, "pfams")
    with pytest.raises(UsageError, match="Domain names no family of the cached sequences"):
        families_of(corpus, "Domain", 1)
    bare = make_corpus(tmp_path / "bare", texts)
    with pytest.raises(UsageError, match=r"give --column, of none; or add regions with .*corpus annotate"):
        families_of(bare)


def test_the_command(
    made: tuple[ActivationCache, Corpus, np.ndarray, list[set[str]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, corpus, *_ = made
    out = tmp_path / "out"
    args = ["families", str(cache.path), "--corpus", str(corpus.path), "--out", str(out)]
    assert main(args) == 0
    said = capsys.readouterr().out
    table = pq.read_table(out / "families.parquet")
    assert set(table["part"].to_pylist()) == set(PARTS)
    assert "5 of protein_families" in said
    assert "of 9 features; families dealt anew" in said
    assert (out / "families.csv").read_text().count("\n") == len(table) + 1
    assert main([*args, "--column", "nothing"]) == 2
