"""Concept F1 on three parts, its null and InterPLM's rules, against loops over residues and sets of instances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autointerp.biology import f1, interplm
from autointerp.biology.absent import missing_annotations
from autointerp.biology.counting import Labels, count, cuts, maxima
from autointerp.biology.interplm_labels import labels_of_table
from autointerp.biology.regions import annotated, joined, matching
from autointerp.errors import FormatError, UsageError
from tests.doubles import make_corpus, random_documents, random_proteins, write_cache

Annotation = tuple[int, int, int, str, str, int]
KINDS = [("Domain", "SH3"), ("Domain", "PH"), ("Domain", "any"), ("Helix", "any"), ("Disulfide bond", "any")]


def example(folder: Path, seed: int, n: int = 30, features: int = 6) -> tuple:
    """A corpus with overlapping annotations, a dense matrix with one good feature, and its cache."""
    rng = np.random.default_rng(seed)
    texts = random_proteins(n, (4, 25), seed)
    lengths = [len(t) for t in texts]
    offsets = np.cumsum([0, *lengths])
    rows: list[Annotation] = []
    for instance in range(3 * n):
        s = int(rng.integers(n))
        kind, name = KINDS[rng.integers(len(KINDS))]
        for _ in range(rng.integers(1, 3)):
            start = int(rng.integers(0, lengths[s] - 1))
            rows.append((s, start, int(rng.integers(start + 1, min(lengths[s], start + 7) + 1)), kind, name, instance))
    corpus = make_corpus(folder / "corpus", texts, annotations=rows)
    shape = (offsets[-1], features)
    dense = rng.integers(1, 11, shape) / 8 * (rng.random(shape) < rng.choice([0.5, 0.1, 0.02, 0], features))
    for s, start, end, _, name, _ in rows:
        if name == "SH3":
            dense[offsets[s] + start : offsets[s] + end, 1] = 1
    return corpus, dense, write_cache(folder / "cache", dense, corpus), rows, offsets


def brute(dense, cut, rows, offsets, side, concept_of) -> dict:
    """(concept, feature, threshold, side) to (fired, hits, found), and (concept, side) to (instances, positives)."""
    regions: dict[str, dict[int, set[int]]] = {}
    for s, start, end, kind, name, instance in rows:
        for concept in concept_of(kind, name):
            place = range(offsets[s] + start, offsets[s] + end)
            regions.setdefault(concept, {}).setdefault(instance, set()).update(place)
    out: dict = {}
    for part in range(2):
        on = set(np.flatnonzero(side == part).tolist())
        for concept, instances in regions.items():
            here = [r & on for r in instances.values() if r & on]
            labelled = set().union(*here)
            out[concept, part] = len(here), len(labelled)
            for feature in range(dense.shape[1]):
                for t in range(cut.shape[1]):
                    fires = {i for i in on if np.float32(dense[i, feature]) > cut[feature, t]}
                    out[concept, feature, t, part] = (
                        len(fires),
                        len(fires & labelled),
                        sum(bool(r & fires) for r in here),
                    )
    return out


def whole_types(kind: str, name: str) -> list[str]:
    return list(dict.fromkeys([f"{kind}: {name}", *([f"{kind}: any"] if kind == "Domain" else [])]))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from([7, 1 << 19]))
def test_counts_equal_the_loop(tmp_path_factory: pytest.TempPathFactory, seed: int, chunk: int) -> None:
    folder = tmp_path_factory.mktemp("counts")
    corpus, dense, cache, rows, offsets = example(folder, seed)
    parts = np.random.default_rng(seed).integers(-1, 3, len(corpus)).astype(np.int8)
    part = np.repeat(parts, np.diff(offsets))
    side = np.where(part > 0, part - 1, -1).astype(np.int8)
    regions = annotated(cache, corpus)
    cut = cuts(maxima(cache, part == 0), f1.THRESHOLDS)
    for feature in range(dense.shape[1]):
        top = np.float32(dense[part == 0, feature].max(initial=0))
        expected = [np.float32(t) * top if top or not t else np.inf for t in f1.THRESHOLDS]
        assert cut[feature].tolist() == expected
    truth = brute(dense.astype(np.float32), cut, rows, offsets, side, whole_types)
    labels = Labels.of(regions, cache.n_tokens)
    positives, instances = labels.positives(side, 2), regions.instances(side, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autointerp.biology.counting.CHUNK", chunk)
        for counts in count(cache, labels, side, 2, cut):
            for f, part_, t, c in np.ndindex(counts.hits.shape):
                name = str(regions.names[c])
                assert (
                    counts.fired[f, part_, t], counts.hits[f, part_, t, c], counts.found[f, part_, t, c]
                ) == truth[name, counts.feature + f, t, part_]  # fmt: skip
                assert (instances[part_, c], positives[part_, c]) == truth[name, part_]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_the_study_equals_the_loop(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("study")
    corpus, dense, cache, rows, offsets = example(folder, seed)
    parts = (np.arange(len(corpus)) % 3).astype(np.int8)
    side = np.repeat(np.where(parts > 0, parts - 1, -1), np.diff(offsets)).astype(np.int8)
    cut = cuts(maxima(cache, np.repeat(parts == 0, np.diff(offsets))), f1.THRESHOLDS)
    truth = brute(dense.astype(np.float32), cut, rows, offsets, side, whole_types)
    names = [k[0] for k in truth if len(k) == 2 and k[1] == 0 and min(truth[k][0], truth[k[0], 1][0]) >= 2]

    def score(concept: str, feature: int, t: int, part: int) -> float:
        fired, hits, found = truth[concept, feature, t, part]
        p, r = hits / max(fired, 1), found / truth[concept, part][0]
        return 2 * p * r / (p + r) if p + r else 0.0

    expected = {}
    for concept in names:
        for feature in range(dense.shape[1]):
            valid = [score(concept, feature, t, 0) for t in range(5)]
            t = int(np.argmax(valid))
            expected[feature, concept] = (valid[t], score(concept, feature, t, 1), f1.THRESHOLDS[t])
    result = f1.study(cache, annotated(cache, corpus), parts, min_instances=2, pairs_above=0.1)
    found = {(r["feature"], r["concept"]): (r["valid_f1"], r["f1"], r["threshold"]) for r in result.pairs.to_pylist()}
    assert found.keys() == {k for k, v in expected.items() if v[0] >= 0.1}
    assert all(v == pytest.approx(expected[k]) for k, v in found.items())
    for by, at in (("concept", 1), ("feature", 0)):
        table = getattr(result, f"{by}s").to_pylist()
        best = {}
        for key, value in expected.items():
            best[key[at]] = max(best.get(key[at], 0), value[0])
        assert {r[by]: r["valid_f1"] for r in table} == pytest.approx({k: v for k, v in best.items() if v})
        assert all((r["valid_f1"], r["f1"]) == pytest.approx(expected[r["feature"], r["concept"]][:2]) for r in table)


def test_turned_labels_keep_their_numbers_and_lose_their_places(tmp_path: Path) -> None:
    corpus, _, cache, _, offsets = example(tmp_path, 3)
    side = np.repeat(np.arange(len(corpus)) % 2, np.diff(offsets)).astype(np.int8)
    regions = annotated(cache, corpus)
    labels = Labels.of(regions, cache.n_tokens)
    turned = labels.rotated(side, 2, np.random.default_rng(0))
    assert (turned.positives(side, 2) == labels.positives(side, 2)).all()
    assert (np.bincount(turned.instance) == np.bincount(labels.instance)).all()
    assert set(zip(turned.tokens(), turned.instance, strict=True)) != set(
        zip(labels.tokens(), labels.instance, strict=True)
    )


def planted(folder: Path, weak: float = 0.0) -> tuple:
    """A zinc finger at 5:15 of 90 proteins; feature 1 fires on it; in every third protein it is not annotated."""
    texts = random_proteins(90, (40, 40))
    kept = [i for i in range(90) if i % 3]
    corpus = make_corpus(
        folder / "corpus", texts, part=["fit", "valid", "test"] * 30,
        annotations=[(i, 5, 15, "Zinc finger", "C2H2", i) for i in kept],
    )  # fmt: skip
    dense = np.zeros((3600, 2), np.float32)
    position = np.arange(3600) % 40
    dense[(position >= 5) & (position < 15), 1] = 1.0
    dense[position == 20, 1] = weak
    dense[position == 1, 0] = 1.0
    return write_cache(folder / "cache", dense, corpus), corpus


def test_a_planted_concept_is_found_and_its_gaps_are_listed(tmp_path: Path) -> None:
    cache, corpus = planted(tmp_path, 0.1)
    parts = f1.parts_of(cache, corpus, column="part")
    regions = annotated(cache, corpus)
    result = f1.study(cache, regions, parts)
    (row,) = result.concepts.to_pylist()
    assert (row["feature"], row["concept"], row["threshold"], row["f1"]) == (1, "Zinc finger: C2H2", 0.15, 1.0)
    assert (row["n_instances"], row["n_tokens"], row["token_recall"]) == (30, 300, 1.0)
    assert row["null_f1"] < 0.6
    assert row["p"] == 0.5  # one null score
    gaps = missing_annotations(cache, corpus, regions, result.concepts, parts).to_pylist()
    assert {(g["id"], g["start"], g["end"]) for g in gaps} == {(f"s{i}", 6, 15) for i in range(0, 90, 3)}
    assert gaps[0]["precision_above"] == pytest.approx(301 / 302)
    assert (gaps[0]["distance"], gaps[0]["also"]) == (None, "")
    assert gaps[0]["context"] == f"{corpus.text(0)[:5]}«{corpus.text(0)[5:15]}»{corpus.text(0)[15:25]}"


def test_the_edge_of_an_instance_is_no_gap(tmp_path: Path) -> None:
    """A run 3 residues behind a label is its edge; one 24 residues behind is listed, as far as it is."""
    cache, corpus = planted(tmp_path)
    position = np.arange(3600) % 40
    dense = ((position >= 5) & (position < 15) | (position == 17) | (position == 38)).astype(np.float32)
    cache = write_cache(tmp_path / "other", np.stack([dense, dense * 0], 1), corpus)
    parts, regions = f1.parts_of(cache, corpus, column="part"), annotated(cache, corpus)
    gaps = missing_annotations(cache, corpus, regions, f1.study(cache, regions, parts).concepts, parts).to_pylist()
    found = {(g["id"], g["start"], g["end"], g["distance"]) for g in gaps}
    labelled = {(f"s{i}", 39, 39, 24) for i in range(90) if i % 3}
    assert {g for g in found if g[3]} == labelled
    assert len(found - labelled) == 3 * 30


def test_a_choice_is_not_revised_on_test(tmp_path: Path) -> None:
    """Perfect on valid, silent on test: chosen, 0."""
    _, corpus = planted(tmp_path)
    position, protein = np.arange(3600) % 40, np.arange(3600) // 40
    dense = np.zeros((3600, 2), np.float32)
    dense[(position >= 5) & (position < 15) & (protein % 3 != 2), 0] = 1
    dense[(position >= 5) & (position < 14), 1] = 1
    dense[position == 30, 1] = 1
    cache = write_cache(tmp_path / "other", dense, corpus)
    result = f1.study(cache, annotated(cache, corpus), f1.parts_of(cache, corpus, column="part"))
    (row,) = result.concepts.to_pylist()
    assert (row["feature"], row["valid_f1"], row["f1"]) == (0, 1.0, 0.0)


def test_tokens_of_a_text_are_marked_by_patterns(tmp_path: Path) -> None:
    """Against characters: a token is marked if it shares one with a match."""
    corpus = make_corpus(tmp_path / "corpus", random_documents(20, (5, 30)), kind="text")
    n = write_cache(tmp_path / "probe", np.ones((20, 2)), corpus, level="sequence").n_tokens
    cache = write_cache(tmp_path / "cache", np.ones((n, 2)), corpus)
    regions = joined(matching(cache, corpus, {"cat": "cat"}), matching(cache, corpus, {"über": "über| on"}))
    assert regions.names.tolist() == ["pattern: cat", "pattern: über"]
    import re

    for concept, pattern in enumerate(("cat", "über| on")):
        marked = set()
        for s in range(20):
            ends = cache.ends[cache.offsets[s] : cache.offsets[s + 1]].tolist()
            for match in re.finditer(pattern, corpus.text(s)):
                begins = [0, *ends[:-1]]
                for i, (a, b) in enumerate(zip(begins, ends, strict=True)):
                    if set(range(a, b)) & set(range(*match.span())):
                        marked.add(cache.offsets[s] + i)
        here = regions.concept[regions.instance] == concept
        assert {t for a, b in zip(regions.start[here], regions.stop[here], strict=True) for t in range(a, b)} == marked
        assert marked


def test_what_cannot_be_studied(tmp_path: Path) -> None:
    cache, corpus = planted(tmp_path)
    regions = annotated(cache, corpus)
    parts = f1.parts_of(cache, corpus, column="part")
    with pytest.raises(UsageError, match="the most is 30"):
        f1.study(cache, regions, parts, min_instances=31)
    with pytest.raises(UsageError, match="no sequence is in part fit"):
        f1.parts_of(cache, corpus, shares=(0.0, 0.5, 0.5))
    with pytest.raises(UsageError, match="pattern x="):
        matching(cache, corpus, {"x": "("})


# ------------------------------------------------------------------------------------------------- InterPLM's rules


def rules(folder: Path, annotations: list[Annotation], dense: np.ndarray, n: int, **options) -> interplm.Report:
    """``n`` proteins of ten residues, the first half valid and the rest test."""
    corpus = make_corpus(folder / "corpus", ["ACDEFGHIKL"] * n, annotations=annotations)
    cache = write_cache(folder / "cache", dense, corpus, n_shards=1)
    parts = np.where(np.arange(n) < n // 2, f1.VALID, f1.TEST).astype(np.int8)
    return interplm.report(cache, corpus, parts, **{"min_required": 2, "min_domains": 0, **options})


def places(n: int, *spans: tuple[int, int]) -> np.ndarray:
    """(10 n, 1): 1 on the spans of each protein."""
    dense = np.zeros((n, 10, 1), np.float32)
    for a, b in spans:
        dense[:, a:b] = 1
    return dense.reshape(-1, 1)


def test_compat_labels_without_a_frequent_note_are_none(tmp_path: Path) -> None:
    """W-B2: no note, or a rare one, is not even ``any``; binding sites have no labels; a binary type needs no note."""
    rows = [(i, 0, 2, "Zinc finger", ["C2H2", "any", "C2H2", "any"][i % 4], i) for i in range(8)]
    rows += [
        (0, 4, 5, "Zinc finger", "rare", 8),
        (0, 6, 7, "Binding site", "ATP", 9),
        (1, 6, 7, "Binding site", "ATP", 10),
    ]
    rows += [(i, 8, 10, "Helix", "any", 11 + i) for i in range(8)]
    report = rules(tmp_path, rows, places(8, (0, 2)), 8)
    assert report.n_concepts == 3  # Helix, Zinc finger_C2H2, Zinc finger_any
    by = {r["concept"]: r for r in report.best.to_pylist()}
    for name in ("Zinc finger_C2H2", "Zinc finger_any"):  # the feature hits 4 proteins of which 2 are labelled
        assert (by[name]["precision"], by[name]["recall_per_domain"]) == (0.5, 1.0)


def test_compat_residue_level_is_a_word_of_the_name(tmp_path: Path) -> None:
    """W-B3: ``Motif_Cofactor binding`` is counted by residue, ``Motif_DEAD`` by domain."""
    rows = [(i, 0, 4, "Motif", "Cofactor binding", 2 * i) for i in range(4)]
    rows += [(i, 0, 4, "Motif", "DEAD", 2 * i + 1) for i in range(4)]
    by = {r["concept"]: r for r in rules(tmp_path, rows, places(4, (0, 1)), 4).best.to_pylist()}
    assert (by["Motif_Cofactor binding"]["recall_per_domain"], by["Motif_DEAD"]["recall_per_domain"]) == (0.25, 1.0)
    assert by["Motif_Cofactor binding"]["f1_per_domain"] == pytest.approx(0.4)
    assert (by["Motif_Cofactor binding"]["tp_per_domain"], by["Motif_DEAD"]["tp_per_domain"]) == (0, 2)


def test_compat_overlapping_instances_are_overwritten(tmp_path: Path) -> None:
    """W-B4: the second repeat hides the first, which still counts: recall is 1/2 where everything is found."""
    rows = [(i, 0, 4, "Zinc finger", "C2H2", 2 * i + j) for i in range(4) for j in range(2)]
    (row, other) = rules(tmp_path, rows, places(4, (0, 4)), 4).best.to_pylist()
    assert {row["concept"], other["concept"]} == {"Zinc finger_C2H2", "Zinc finger_any"}
    assert (row["precision"], row["recall"], row["recall_per_domain"]) == (1.0, 1.0, 0.5)


def test_compat_threshold_is_chosen_again_and_misses_vanish(tmp_path: Path) -> None:
    """W-B5: valid is best at 0.5, test at 0; a pair without a hit on test is no row."""
    rows = [(i, 0, 2, "Zinc finger", "C2H2", i) for i in range(4)]
    dense = np.zeros((4, 10, 1), np.float32)
    dense[:2, 0:2], dense[:2, 5:8] = 1, 0.3
    dense[2:, 0:2] = 0.1
    row = rules(tmp_path / "a", rows, dense.reshape(-1, 1), 4).best.to_pylist()[0]
    assert (row["valid_threshold"], row["threshold"], row["valid_f1"], row["f1"]) == (0.5, 0.0, 1.0, 1.0)
    dense[2:] = 0
    report = rules(tmp_path / "b", rows, dense.reshape(-1, 1), 4)
    assert (report.best.num_rows, report.n_vanished, report.pairs.num_rows) == (0, 2, 0)


def test_compat_head_leaves_activations_raw(tmp_path: Path) -> None:
    """W-B1: of a feature that reaches 10, nothing lies between 0.15 and 0.8 of raw activation."""
    rows = [(i, 0, 2, "Zinc finger", "C2H2", i) for i in range(4)]
    dense = 10 * places(4, (0, 2)) + 1 * places(4, (5, 8))
    (paper, _) = rules(tmp_path / "a", rows, dense, 4).best.to_pylist()
    (head, _) = rules(tmp_path / "b", rows, dense, 4, head=True).best.to_pylist()
    assert (paper["precision"], head["precision"]) == (1.0, pytest.approx(0.4))


def test_compat_concepts_are_kept_by_set_or_pooled(tmp_path: Path) -> None:
    """W-B6: 3 domains on valid and 1 on test: more than 2 together, not apart. ``Domain_any`` is dropped."""
    rows = [(i, 0, 2, "Domain", "SH3", i) for i in range(3)] + [(5, 0, 2, "Domain", "SH3", 3)]
    dense = places(6, (0, 2))
    with pytest.raises(UsageError, match="more than 2 domains"):
        rules(tmp_path / "a", rows, dense, 6, min_domains=2)
    report = rules(tmp_path / "b", rows, dense, 6, min_domains=2, head=True)
    assert (report.n_concepts, report.best["concept"].to_pylist()) == (1, ["Domain_SH3"])


# ------------------------------------------------------------------------- InterPLM's rules on UniProt's own table

HEAD = "Entry\tSequence\tBinding site\tZinc finger\tSignal peptide\tDisulfide bond\tHelix\tCofactor\n"
ROW = {
    "Binding site": '', "Zinc finger": "", "Signal peptide": "", "Disulfide bond": "", "Helix": "", "Cofactor": "",
}  # fmt: skip


def table_of(folder: Path, rows: list[dict[str, str]], ids: list[str] | None = None) -> Path:
    path = folder / "uniprot.tsv"
    lines = ["\t".join([ids[i] if ids else f"s{i}", "ACDEFGHIKL", *(ROW | row).values()]) for i, row in enumerate(rows)]
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return path


def labelled(folder: Path, rows: list[dict[str, str]], required: int = 2) -> tuple[dict[str, list], dict[str, int]]:
    """Concept to the (token, instance) pairs of its labels, tokens counted through proteins of ten residues."""
    corpus = make_corpus(folder / "corpus", ["ACDEFGHIKL"] * len(rows))
    cache = write_cache(folder / "cache", np.zeros((10 * len(rows), 2)), corpus)
    regions, left = labels_of_table(cache, corpus, table_of(folder, rows), min_required=required)
    found: dict[str, list] = {}
    for instance, start, stop in zip(regions.instance, regions.start, regions.stop, strict=True):
        name = str(regions.names[regions.concept[instance]])
        found.setdefault(name, []).extend((t, int(instance)) for t in range(start, stop))
    return found, dict(left)


def test_compat_binding_sites_are_enumerated_by_ligand_and_matched_by_note(tmp_path: Path) -> None:
    """W-B2: two sites bind ATP and have no note, so ATP is a subtype that neither has; one whose note says ATP has it.
    A note that is no ligand's name, however frequent, is nothing; a rare ligand's name is nothing either."""
    rows = [
        {"Binding site": 'BINDING 1..2; /ligand="ATP"; /ligand_id="ChEBI:CHEBI:30616"'},
        {"Binding site": 'BINDING 1; /ligand="ATP"; BINDING 4..5; /note="ATP; via amide nitrogen"'},
        {"Binding site": 'BINDING 7; /ligand="GTP"; BINDING 8; /note="GTP"'},
        {"Binding site": 'BINDING 1; /note="substrate"; BINDING 2; /note="substrate"; BINDING 3; /note="substrate"'},
    ]
    found, left = labelled(tmp_path, rows)
    assert {name: [t for t, _ in marks] for name, marks in found.items()} == {
        "Binding site_ATP": [13, 14], "Binding site_any": [13, 14],
    }  # fmt: skip
    assert left == {"without a note": 3, "note that is rare, or no ligand's name": 4}


def test_compat_features_without_a_note_are_no_label_of_the_table_either(tmp_path: Path) -> None:
    """W-B2: signal peptides without a note; and the subtype's frequency, two here."""
    fingers = [
        'ZN_FING 2..3; /note="C2H2-type 1; degenerate"',
        'ZN_FING 2..3; /note="C2H2-type 1"; ZN_FING 5; /note="X"',
    ]
    rows = [{"Signal peptide": "SIGNAL 1..4", "Zinc finger": cell} for cell in fingers]
    found, left = labelled(tmp_path, rows)
    assert sorted(found) == ["Zinc finger_C2H2-type 1", "Zinc finger_any"]
    assert [t for t, _ in found["Zinc finger_any"]] == [1, 2, 11, 12]
    assert left == {"without a note": 2, "note that is rare, or no ligand's name": 1}


def test_compat_positions(tmp_path: Path) -> None:
    """``<`` and ``>`` are stripped, ``?`` and isoforms passed over, both ends of a bond marked, the end cut off."""
    rows = [
        {"Helix": "HELIX <1..2; HELIX 4..>5; HELIX ?..7; HELIX 8..?; HELIX P12345-2:1..9; HELIX 9..14; HELIX 11..12"},
        {"Disulfide bond": "DISULFID 2..6; DISULFID 8; DISULFID ?..9; DISULFID 3..4"},
    ]
    found, left = labelled(tmp_path, rows)
    assert [t for t, _ in found["Helix"]] == [0, 1, 3, 4, 8, 9]
    assert len({i for _, i in found["Helix"]}) == 3
    assert sorted(t for t, _ in found["Disulfide bond"]) == [11, 12, 13, 15, 17]
    assert left == {"position with ? or :": 4, "past the end of the sequence": 1}


def test_compat_report_from_the_table(tmp_path: Path) -> None:
    """Fuzzy helices count; bonds have no instances, so that two a set are one domain and are not kept for two."""
    rows = [{"Helix": "HELIX <1..2", "Disulfide bond": "DISULFID 5..7", "Cofactor": "COFACTOR: Name=Zn(2+)"}] * 6
    path = table_of(tmp_path, rows)
    report = rules(tmp_path, [], places(6, (0, 2), (4, 5)), 6, table=path)
    by = {r["concept"]: r for r in report.best.to_pylist()}
    assert by.keys() == {"Helix", "Disulfide bond"}
    assert (by["Helix"]["precision"], by["Helix"]["recall_per_domain"]) == (pytest.approx(2 / 3), 1.0)
    assert (by["Disulfide bond"]["recall"], by["Disulfide bond"]["tp_per_domain"]) == (0.5, 0)  # by residue
    report = rules(tmp_path / "again", [], places(6, (0, 2), (4, 5)), 6, table=path, min_domains=1)
    assert report.best["concept"].to_pylist() == ["Helix"]


def test_compat_tables_that_fit_nothing(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACDEFGHIKL"] * 2)
    cache = write_cache(tmp_path / "cache", np.zeros((20, 2)), corpus)
    with pytest.raises(UsageError, match=r"none of its entries is in the corpus, whose first are s0, s1"):
        labels_of_table(cache, corpus, table_of(tmp_path, [{"Helix": "HELIX 1..2"}], ["P1"]))
    with pytest.raises(UsageError, match="no feature gets a label"):
        labels_of_table(cache, corpus, table_of(tmp_path, [{"Signal peptide": "SIGNAL 1..2"}]))
    path = tmp_path / "other.tsv"
    path.write_text("Entry\tSequence\ns0\tACD\n")
    with pytest.raises(FormatError, match="feature columns"):
        labels_of_table(cache, corpus, path)


def test_compat_table_and_annotations_agree_where_nothing_is_fuzzy(data: Path, tmp_path: Path) -> None:
    """The first 150 yeast entries, old feature types: the same instances of the same concepts by either way."""
    import pyarrow as pa

    from autointerp.corpus import Corpus, Source
    from autointerp.corpus.corpus import annotation_schema
    from autointerp.corpus.entries import Tally
    from autointerp.corpus.uniprot_tsv import read_tsv

    path = data / "proteins" / "yeast_swissprot.tsv.gz"
    entries = [e for e, _ in zip(read_tsv(Source(str(path)), Tally()), range(150), strict=False)]
    rows = [
        (i, a.start, a.end, a.type, a.label, 1000 * i + a.instance)
        for i, e in enumerate(entries)
        for a in e.annotations
    ]
    regions = pa.table([pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), annotation_schema(), strict=True)],
                       annotation_schema())  # fmt: skip
    columns = {"id": [e.id for e in entries], "text": [e.text for e in entries], "group": list(range(150))}
    corpus = Corpus.write(tmp_path / "c", pa.table(columns), regions, kind="protein", source={}, grouping={})
    cache = write_cache(tmp_path / "cache", np.zeros((sum(map(len, columns["text"])), 2)), corpus)
    one, two = interplm.concepts(cache, corpus), labels_of_table(cache, corpus, path)[0]
    assert one.names.tolist() == two.names.tolist()
    assert len(one.names) > 8
    for which in range(len(one.names)):
        both = [sorted(zip(r.start[here].tolist(), r.stop[here].tolist(), strict=True))
                for r in (one, two) for here in [r.concept[r.instance] == which]]  # fmt: skip
        assert both[0] == both[1]
