"""A GO study from files to tables: annotations, study sets, backgrounds, the seed's rules, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from scipy import stats

from autointerp.biology.gaf import read_gaf
from autointerp.biology.go import of_organism, sequence_maxima, terms_of_column, terms_of_gaf
from autointerp.biology.go_study import SEED, GoSettings, study_go
from autointerp.biology.obo import Ontology, read_obo
from autointerp.biology.structure import term_structure
from autointerp.cache import ActivationCache
from autointerp.commands import main
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from tests.doubles import make_corpus, random_proteins, write_cache

N, N_FEATURES = 120, 14
TREE = {  # two trees, three levels below each root
    **{f"GO:{b}{i}": (f"GO:{b}{(i - 1) // 3}" if i else None) for b in "12" for i in range(40)},
}


def term(name: str, space: str, *lines: str) -> str:
    return "\n".join(["[Term]", f"id: {name}", f"name: the {name}", f"namespace: {space}", *lines, ""]) + "\n"


@pytest.fixture(scope="module")
def obo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("obo") / "small.obo"
    stanzas = [
        term(name, f"space_{name[3]}", *([f"is_a: {parent} ! up"] if parent else []), *_more(name))
        for name, parent in TREE.items()
    ]
    gone = term("GO:99", "space_1", "is_obsolete: true")
    path.write_text("format-version: 1.2\ndata-version: small\n\n" + "".join(stanzas) + gone)
    return path


def _more(name: str) -> list[str]:
    return {"GO:15": ["alt_id: GO:77"], "GO:230": ["relationship: part_of GO:12"], "GO:231": ["is_a: GO:555"]}.get(
        name, []
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, obo: Path) -> tuple[ActivationCache, Corpus, Ontology, np.ndarray]:
    """A corpus whose features 3 … 8 fire in the proteins of GO:1(i+1); the last never fires, the one before once."""
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    carried = [sorted(rng.choice(list(TREE), rng.integers(1, 4), replace=False)) for _ in range(N)]
    carried[0] = []
    written = ["; ".join(c) or None for c in carried]
    written[1] = "an old one [GO:77]; GO:99; GO:424242"
    organisms = ["Homo sapiens (Human)"] * 70 + ["Human virus"] * 20 + ["Yeast"] * 30
    corpus = make_corpus(folder / "corpus", random_proteins(N, (3, 9)), go_ids=written, organism=organisms)
    ontology = read_obo(obo)
    table = terms_of_column(corpus, ontology)
    offsets = np.cumsum([0, *corpus.lengths.tolist()])
    dense = np.zeros((offsets[-1], N_FEATURES), np.float32)
    for feature in range(N_FEATURES - 2):
        fires = set(rng.choice(N, 12, replace=False).tolist())
        if 3 <= feature < 9:
            fires |= set(table.propagated[:, [ontology.index[f"GO:1{feature - 2}"]]].nonzero()[0].tolist())
        for protein in sorted(fires):
            dense[rng.integers(offsets[protein], offsets[protein + 1], 2), feature] = rng.integers(1, 9, 2)
    dense[offsets[5], N_FEATURES - 2] = 1
    return write_cache(folder / "cache", dense, corpus), corpus, ontology, dense


def test_annotations_of_a_column(made: tuple[ActivationCache, Corpus, Ontology, np.ndarray]) -> None:
    _, corpus, ontology, _ = made
    table = terms_of_column(corpus, ontology)
    counts = table.counts
    assert counts["annotations by an alternative id"] == 1
    assert counts["annotations with an obsolete id"] == 1
    assert counts["annotations with an id the ontology lacks"] == 1
    assert ontology.counts == {"edges to missing or obsolete terms": 1}
    assert table.direct[[1]].indices.tolist() == [ontology.index["GO:15"]]
    for row in range(N):
        up, todo = set(), [ontology.ids[t] for t in table.direct[[row]].indices]
        while todo:
            at = todo.pop()
            up.add(at)
            todo += [parent] if (parent := TREE[at]) else []
        assert {ontology.ids[t] for t in table.propagated[[row]].indices} == up


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_largest_activation_of_each_protein(
    made: tuple[ActivationCache, Corpus, Ontology, np.ndarray], share: float
) -> None:
    cache, corpus, _, dense = made
    offsets = np.cumsum([0, *corpus.lengths.tolist()])
    expected = np.maximum.reduceat(dense, offsets[:-1]).T
    expected = np.where(expected > share * expected.max(1, keepdims=True), expected, 0)
    assert np.array_equal(sequence_maxima(cache, range(N_FEATURES), share).toarray(), expected)


@pytest.mark.parametrize("background", ["annotated", "namespace", "all"])
def test_a_study_is_scipys_namespace_by_namespace(
    made: tuple[ActivationCache, Corpus, Ontology, np.ndarray], background: str
) -> None:
    cache, corpus, ontology, _ = made
    table = terms_of_column(corpus, ontology)
    settings = GoSettings(background=background, threshold=0.3, min_study=3, min_proteins=4)  # type: ignore[arg-type]
    study = study_go(cache, corpus, ontology, table, settings)
    carries, fires = table.propagated.toarray(), sequence_maxima(cache, range(N_FEATURES), 0.3).toarray() > 0
    expected = {}
    for space, result in enumerate(study.results):
        columns = np.flatnonzero(ontology.namespace == space)
        rows = {"all": np.ones(N, bool), "annotated": carries.any(1)}.get(background, carries[:, columns].any(1))
        features = np.flatnonzero(fires[:, rows].sum(1) >= 3)
        terms = columns[carries[np.ix_(rows, columns)].sum(0) >= 4]
        p = [
            [stats.fisher_exact(_counts(fires[f, rows], carries[rows, t]), alternative="greater")[1] for t in terms]
            for f in features
        ]
        q = stats.false_discovery_control(np.ravel(p)).reshape(np.shape(p))
        assert result.findings.n_tests == q.size
        assert result.findings.population == rows.sum()
        for i, j in zip(*np.nonzero(q <= 0.05), strict=True):
            expected[features[i], ontology.ids[terms[j]]] = q[i, j]
    got = study.rows().to_pylist()
    assert {(r["feature"], r["term"]): r["q"] for r in got} == pytest.approx(expected)
    assert {(f, f"GO:1{f - 2}") for f in range(3, 6)} <= set(expected)
    assert all(
        r["fold"] == pytest.approx(r["in_study"] / r["study"] / (r["in_background"] / r["background"])) for r in got
    )
    facts = study.summary()
    assert facts["never_fire"] == 1
    assert sum(r.null_findings or 0 for r in study.results) < len(got) / 4


def _counts(fires: np.ndarray, carries: np.ndarray) -> list[list[int]]:
    return [[int((a & b).sum()) for b in (carries, ~carries)] for a in (fires, ~fires)]


def test_the_seeds_rules_are_goatools(
    made: tuple[ActivationCache, Corpus, Ontology, np.ndarray],
    obo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every corrected p-value below .05, depleted terms among them, of a study as the seed sets it up."""
    pytest.importorskip("goatools")
    from goatools.go_enrichment import GOEnrichmentStudy
    from goatools.obo_parser import GODag

    cache, corpus, ontology, _ = made
    study = study_go(cache, corpus, ontology, terms_of_column(corpus, ontology), GoSettings(**SEED, organism="Human"))  # type: ignore[arg-type]
    human = [i for i in range(N) if "Human" in corpus.metadata(i)["organism"]]
    carried = {i: {t for t in str(corpus.metadata(i)["go_ids"] or "").split("; ") if t in TREE} for i in human}
    carried[1] = {"GO:15"}
    whole = tmp_path / "whole.obo"  # goatools stops at a missing parent
    whole.write_text(obo.read_text().replace("is_a: GO:555\n", ""))
    tester = GOEnrichmentStudy(human, carried, GODag(str(whole), prt=None), methods=["bonferroni"], log=None)
    fires = sequence_maxima(cache, range(N_FEATURES)).toarray() > 0
    expected = {}
    for feature in range(N_FEATURES - 1):
        members = {i for i in human if fires[feature, i]}
        for record in tester.run_study(members, prt=None) if members else ():
            if record.p_bonferroni < 0.05:
                expected[feature, record.GO] = record.p_bonferroni
    got = {(r["feature"], r["term"]): r["bonferroni"] for r in study.rows().to_pylist()}
    assert got == pytest.approx(expected, rel=1e-8)
    assert len(expected) > 5


def test_what_length_alone_brings(obo: Path, tmp_path: Path) -> None:
    """Features that fire in long proteins, terms that long proteins carry: only the null among like lengths says so."""
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.permutation(200) // 4 + 3)
    long = lengths > np.median(lengths)
    texts = ["A" * n for n in lengths]
    ids = ["GO:15" if rng.random() < 0.1 + 0.6 * late else "GO:25" for late in long]
    corpus = make_corpus(tmp_path / "corpus", texts, go_ids=ids)
    dense = np.zeros((lengths.sum(), 8), np.float32)
    ends = np.cumsum(lengths) - 1
    for feature in range(8):
        dense[ends[rng.random(200) < 0.1 + 0.6 * long], feature] = 1
    ontology = read_obo(obo)
    study = study_go(
        write_cache(tmp_path / "cache", dense, corpus), corpus, ontology, terms_of_column(corpus, ontology)
    )
    result = study.results[0]
    assert result.namespace == "space_1"
    assert len(result.findings.feature) >= 8
    assert result.null_findings == 0
    assert result.length_null_findings is not None
    assert result.length_null_findings > len(result.findings.feature) / 2


@pytest.mark.full
def test_two_sided_is_goatools_on_every_term(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """50 features, 400 yeast proteins' real terms: every p-value of every term, to 1e-8."""
    pytest.importorskip("goatools")
    import gzip

    from goatools.go_enrichment import GOEnrichmentStudy
    from goatools.obo_parser import GODag

    from autointerp.biology.enrichment import enrich

    plain = tmp_path / "go.obo"
    plain.write_bytes(gzip.decompress((data / "go" / "go_isa_2024-02.obo.gz").read_bytes()))
    ontology, dag = read_obo(plain), GODag(str(plain), prt=None)
    table = gzip.decompress((data / "proteins" / "yeast_swissprot.tsv.gz").read_bytes()).decode()
    lines = table.splitlines()[1:401]
    carried = [{i for i in line.split("\t")[-1].split("; ") if i in ontology.index} for line in lines]
    direct = sp.lil_array((400, len(ontology)), dtype=np.int32)
    for row, ids in enumerate(carried):
        direct[row, [ontology.index[i] for i in ids]] = 1
    propagated = (direct.tocsr() @ ontology.ancestors.astype(np.int32)).astype(bool)
    rng = np.random.default_rng(0)
    studies = [np.sort(rng.choice(400, int(size), replace=False)) for size in np.geomspace(2, 300, 50)]
    indptr = np.cumsum([0, *map(len, studies)])
    study = sp.csr_array((np.ones(indptr[-1]), np.concatenate(studies), indptr), (50, 400))
    found = enrich(study, propagated, alternative="two-sided", alpha=1.0)
    got = dict(zip(zip(found.feature.tolist(), found.term.tolist(), strict=True), found.ln_p.tolist(), strict=True))
    tester = GOEnrichmentStudy(range(400), dict(enumerate(carried)), dag, methods=["bonferroni"], log=None)
    n = 0
    for feature, members in enumerate(studies):
        records = tester.run_study(set(members.tolist()), prt=None)
        theirs = np.array([r.p_uncorrected for r in records])
        ours = np.exp([got[feature, ontology.index[r.GO]] for r in records])
        assert ours == pytest.approx(theirs, rel=1e-8)
        n += len(records)
    assert n == len(got)


def test_structure_beside_random_terms(made: tuple[ActivationCache, Corpus, Ontology, np.ndarray]) -> None:
    cache, corpus, ontology, _ = made
    study = study_go(cache, corpus, ontology, terms_of_column(corpus, ontology), GoSettings(alpha=0.2, null=False))
    for every in (True, False):
        found = term_structure(study, all_terms=every, max_terms=4)
        units, pairs = found.units.to_pylist(), found.pairs.to_pylist()
        sizes = {(u["feature"], u["namespace"], u["kind"]): u["n_terms"] for u in units}
        for feature, space, kind in sizes:
            assert sizes[feature, space, kind] == sizes[feature, space, "feature"] <= 4
            mine = [p for p in pairs if (p["feature"], p["namespace"], p["kind"]) == (feature, space, kind)]
            m = sizes[feature, space, kind]
            assert len(mine) == m * (m - 1) // 2
            unit = next(u for u in units if (u["feature"], u["namespace"], u["kind"]) == (feature, space, kind))
            assert unit["path"] == pytest.approx(np.mean([p["path"] for p in mine]), rel=1e-6)
        rows = {(r["feature"], r["term"]): r["q"] for r in study.rows().to_pylist()}
        for p in (p for p in pairs if p["kind"] == "feature"):
            one, two = (-np.log10(rows[p["feature"], p[name]]) for name in ("term_a", "term_b"))
            weight = 2 / (1 / one + 1 / two)
            assert p["weighted_path"] == pytest.approx(p["path"] / weight, rel=1e-5)
            assert p["weighted_lca_depth"] == pytest.approx(p["lca_depth"] * weight, rel=1e-5)
            if not every:
                assert p["lca_depth"] < min(ontology.depth[ontology.index[p[n]]] for n in ("term_a", "term_b"))
        for test in found.tests():
            groups = [
                [u[test["measure"]] for u in units if u["kind"] == kind and u["namespace"] == test["namespace"]]
                for kind in ("feature", test["baseline"])
            ]
            welch = stats.ttest_ind(*(np.array(g)[~np.isnan(g)] for g in groups), equal_var=False)
            assert (test["t"], test["df"], test["p"]) == pytest.approx(
                (welch.statistic, welch.df, welch.pvalue), rel=1e-4
            )


def gaf_line(object_: str, go: str, qualifier: str = "", evidence: str = "IDA") -> str:
    cells = [
        "UniProtKB",
        object_,
        "SYM",
        qualifier,
        go,
        "REF",
        evidence,
        "",
        "F",
        "",
        "",
        "protein",
        "taxon:9606|taxon:1",
    ]
    return "\t".join([*cells, "20200101", "SGD"]) + "\n"


def test_gaf_by_id(made: tuple[ActivationCache, Corpus, Ontology, np.ndarray], tmp_path: Path) -> None:
    _, corpus, ontology, _ = made
    path = tmp_path / "a.gaf"
    path.write_text(
        "!gaf-version: 2.1\n" + gaf_line("s3", "GO:15") + gaf_line("s3-2", "GO:16") + gaf_line("sp|s4|X", "GO:77")
        + gaf_line("s5", "GO:15", "NOT|involved_in") + gaf_line("s6", "GO:10", evidence="ND") + gaf_line("zz", "GO:15")
        + "too\tshort\n"
    )  # fmt: skip
    table = terms_of_gaf(corpus, ontology, path)
    direct = {(int(r), ontology.ids[t]) for r, t in zip(*table.direct.nonzero(), strict=True)}
    assert direct == {(3, "GO:15"), (3, "GO:16"), (4, "GO:15")}
    expected = {
        "lines": 7,
        "qualifier NOT": 1,
        "evidence ND": 1,
        "lines of another format": 1,
        "objects in the corpus": 2,
    }
    assert expected.items() <= table.counts.items()
    assert table.taxa == {"taxon:9606": 4}
    path.write_text(gaf_line("P12345", "GO:15") + gaf_line("Q1", "GO:15"))
    with pytest.raises(UsageError, match=r"none of its 2 objects \(P12345, Q1\) is among the 120 ids .*\(s0, s1, s2\)"):
        terms_of_gaf(corpus, ontology, path)
    path.write_text("a table\tof another kind\n")
    with pytest.raises(FormatError, match="a GAF file"):
        read_gaf(path)


def test_a_gaf_that_matches_in_part_is_told(
    made: tuple[ActivationCache, Corpus, Ontology, np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The overlap, and three ids of each side that the other lacks; no word where most match."""
    _, corpus, ontology, _ = made
    path = tmp_path / "a.gaf"
    path.write_text("".join(gaf_line(o, "GO:15") for o in ("s3", "s1", "P1", "P2", "P3", "P4")))
    assert terms_of_gaf(corpus, ontology, path).counts["objects in the corpus"] == 2
    assert "2 of its 6 objects are in the corpus of 120 sequences" in caplog.text
    assert "not there: P1, P2, P3; without any line: s0, s2, s4" in caplog.text
    caplog.clear()
    path.write_text("".join(gaf_line(o, "GO:15") for o in ("s3", "s1", "P1")))
    terms_of_gaf(corpus, ontology, path)
    assert not caplog.text


def test_one_protein_studies_and_silent_features_are_counted(
    made: tuple[ActivationCache, Corpus, Ontology, np.ndarray],
) -> None:
    """The one before the last feature fires in one protein, the last in none: tested, if at all, as SciPy tests it."""
    cache, corpus, ontology, _ = made
    table, single = terms_of_column(corpus, ontology), N_FEATURES - 2
    facts = study_go(cache, corpus, ontology, table, GoSettings(null=False)).summary()["namespaces"]["space_1"]
    assert (facts["features_without_proteins"], facts["features_with_too_few_proteins"]) == (1, 1)
    settings = GoSettings(null=False, min_study=1, min_proteins=1, alpha=0.499)
    study = study_go(cache, corpus, ontology, table, settings)
    result = study.results[0].findings
    assert (result.tested_features[single], result.tested_features[single + 1]) == (True, False)
    mine = np.flatnonzero(result.feature == single)
    carries = table.propagated.toarray()[np.flatnonzero(study.background)]
    fires = np.flatnonzero(study.background) == 5
    for at in mine:
        expected = stats.fisher_exact(_counts(fires, carries[:, result.term[at]]), alternative="greater")[1]
        assert np.exp(result.ln_p[at]) == pytest.approx(expected)
    assert not (result.feature == single + 1).any()


def test_a_real_gaf_is_read_as_goatools_reads_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("goatools")
    from goatools.anno.gaf_reader import GafReader

    path = data / "go" / "goa_yeast_sample.gaf"
    theirs = GafReader(str(path), prt=None)
    kept = {(a.DB_ID, a.GO_ID) for a in theirs.associations if "not" not in {q.lower() for q in a.Qualifier}}
    assert set(read_gaf(path, ()).pairs) == kept
    told = {(a.DB_ID, a.GO_ID) for a in theirs.associations if a.Evidence_Code != "ND" and "not" not in a.Qualifier}
    assert set(read_gaf(path).pairs) == told
    assert len(kept) > len(told) > 150


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([term("GO:1", "a", "is_a: GO:2"), term("GO:2", "a", "is_a: GO:1")], "cycle, GO:1 → GO:2 → GO:1"),
        ([term("GO:1", "a"), term("GO:1", "a")], "GO:1 twice"),
        (["format-version: 1.2\n"], "0 terms"),
        ([term("GO:1", "a", "is_obsolete: true")], "1 terms, none of them in use"),
    ],
)
def test_ontologies_that_are_none(lines: list[str], error: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.obo"
    path.write_text("".join(lines))
    with pytest.raises(FormatError, match=error):
        read_obo(path)


def test_what_is_refused(made: tuple[ActivationCache, Corpus, Ontology, np.ndarray], tmp_path: Path) -> None:
    _, corpus, ontology, _ = made
    with pytest.raises(UsageError, match="no metadata column 'nothing'"):
        terms_of_column(corpus, ontology, "nothing")
    with pytest.raises(UsageError, match="holds no ids"):
        terms_of_column(corpus, ontology, "organism")
    with pytest.raises(UsageError, match=r"no sequence of organism 'Mouse'.*Homo sapiens"):
        of_organism(corpus, "Mouse")
    assert of_organism(corpus, "Yeast")[0].sum() == 30
    assert of_organism(corpus, "Human", contains=True)[0].sum() == 90
    bare = make_corpus(tmp_path / "bare", random_proteins(N, (3, 9)))
    with pytest.raises(UsageError, match="no metadata column with GO ids"):
        terms_of_column(bare, ontology)
    for bad in ({"threshold": 1.0}, {"alpha": 0.0}, {"test": "ranks", "threshold": 0.5}, {"min_study": 0}):
        with pytest.raises(UsageError):
            GoSettings(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "extra", [["--no-structure"], ["--compat", "seed"], ["--test", "ranks", "--part-of", "--no-structure"]]
)
def test_the_command(
    extra: list[str],
    made: tuple[ActivationCache, Corpus, Ontology, np.ndarray],
    obo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, corpus, *_ = made
    out = tmp_path / "out"
    args = ["go", str(cache.path), "--corpus", str(corpus.path), "--obo", str(obo), "--out", str(out), *extra]
    assert main(args) == 0
    said = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    table = pq.read_table(out / "enrichment.parquet")
    assert sum(n["findings"] for n in summary["namespaces"].values()) == len(table) > 0
    assert f"{next(iter(summary['namespaces'].values()))['tests']:,}" in said
    assert len(pq.read_table(out / "features.parquet")) == N_FEATURES
    if "--no-structure" not in extra:
        assert {p.suffix for p in (out / "figures").iterdir()} == {".svg", ".png"}
    if "seed" in extra:
        assert (out / "goe_per_feature.csv").read_text().startswith('"Feature","Term","Name","pvalues"')
    else:
        assert "3 in one background" in said
    assert main([*args, "--gaf", "x", "--go-column", "y"]) == 2
