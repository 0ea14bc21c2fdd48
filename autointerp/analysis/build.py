"""The whole analysis of a cache, part by part, into RUN/analysis; what a part lacks is said and the rest is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.analysis import effects, firing, logos, maps, shapes, similar
from autointerp.analysis.tables import COLUMNS, FOLDER, FORMAT, MANIFEST, VERSION, table_of, write
from autointerp.errors import MissingDependency, UsageError
from autointerp.files import digest_json, write_json
from autointerp.progress import Observer, Stage

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.cache import ActivationCache
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject


@dataclass(frozen=True)
class Settings:
    """What may be chosen."""

    neighbours: int = 10
    """Near features of each kind that are listed."""
    dense: float = 0.1
    """Share of the tokens above which a feature is dense."""
    above: float = shapes.ABOVE
    """Share of a feature's maximum that an activation must exceed to count for its pattern and its logo."""
    duplicate: float = 0.95
    """Decoder cosine from which a feature doubles another; without a coder the co-activation from which it does."""
    umap: bool = True
    """Make the map of decoder vectors and its clusters."""
    seed: int = 0
    """Of the map, and of what is sampled."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise UsageError(f"neighbours {self.neighbours}: at least 1 is needed")
        for name in ("dense", "above", "duplicate"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UsageError(f"{name} {value}: a share, 0 … 1, is needed")


class Builder:
    """One analysis at work.

    Attributes
    ----------
    made : name of a table or part to how it was made. left_out : name to why it was not.
    """

    def __init__(
        self,
        cache: ActivationCache,
        corpus: Corpus,
        out: Path,
        *,
        coder: SparseCoder | None = None,
        subject: Subject | None = None,
        token_sets: Mapping[str, Sequence[str]] | None = None,
        settings: Settings | None = None,
        observer: Observer | None = None,
    ) -> None:
        from autointerp.features.checks import check_corpus

        check_corpus(cache, corpus)
        _check_same("coder", cache, coder)
        _check_same("subject", cache, subject)
        self.cache, self.corpus, self.coder, self.subject = cache, corpus, coder, subject
        self.token_sets, self.settings, self.observer = token_sets, settings or Settings(), observer
        self.folder = out / FOLDER
        self.made: dict[str, dict[str, Any]] = {}
        self.left_out: dict[str, str] = {}
        self.columns: dict[str, Any] = {}

    def build(self) -> dict[str, Any]:
        """Make everything that can be made; the manifest comes last. Returns it."""
        (self.folder / MANIFEST).unlink(missing_ok=True)  # an older one must not vouch for newer tables
        for name in COLUMNS:
            (self.folder / f"{name}.parquet").unlink(missing_ok=True)
        self._statistics()
        self._shapes()
        self._effects()
        near = self._neighbours()
        self._duplicates(near)
        self._map()
        write(self.folder, "features", [table_of("features", self.columns)])
        manifest = self._manifest()
        write_json(self.folder / MANIFEST, manifest)
        return manifest

    def _statistics(self) -> None:
        found = self.cache.statistics
        n = self.cache.n_features
        places = self.cache.n_sequences if self.cache.level == "sequence" else self.cache.n_tokens
        count, dense = found["count"], self.settings.dense
        frequency = count / max(places, 1)
        self.columns = {
            "feature": np.arange(n),
            "n_activations": count,
            "n_sequences": found["n_sequences"],
            "frequency": frequency.astype(np.float32),
            "max": found["max"],
            "mean": found["mean"],
            "dead": count == 0,
            "dense": frequency > dense,
        }
        self.made["features"] = {"method": "statistics of the cache", "dense_above": dense}

    def _shapes(self) -> None:
        import pyarrow as pa

        cache, corpus, settings = self.cache, self.corpus, self.settings
        if cache.level == "sequence":
            reason = "a cache of level sequence has no positions"
            self.left_out |= {"pattern": reason, "position": reason, "logo": reason}
            return
        tokens, alphabet = firing.Tokens.of(cache), logos.Alphabet.of(cache, corpus)
        top, ids = cache.statistics["max"], np.asarray(cache.tokens)
        group = np.asarray(corpus.groups)[: cache.n_sequences]
        found: list[dict[str, np.ndarray]] = []

        def parts() -> Iterator[pa.Table]:
            with Stage(self.observer, "shapes and logos", cache.n_features, "feature") as stage:
                for fired in firing.fired(cache, tokens, settings.above * top):
                    strongest = firing.strongest(fired, group)
                    found.append(shapes.shapes(fired, strongest, tokens.length))
                    own = top[fired.first : fired.first + fired.n]
                    yield logos.logos(fired, strongest, own, tokens, ids, alphabet)
                    stage.advance(fired.n)

        n_rows = write(self.folder, "logo", parts())
        self.columns |= {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        period = self.columns["period"]
        self.columns["period"] = pa.array(period, mask=period == 0)
        self.made["pattern"] = {
            "method": "InterProt's classes",
            "above": settings.above,
            "of_strongest": firing.STRONGEST,
        }
        self.made["position"] = {"method": "relative position of the activation", "at_an_end": shapes.AT_AN_END}
        self.made["logo"] = {
            "method": "p·log2(p/q) at offsets from the strongest peak of each group, enriched symbols",
            "reach": logos.REACH,
            "peaks": firing.STRONGEST,
            "peaks_above": logos.ABOVE,
            "p_at_most": logos.MAX_P,
            "n_rows": n_rows,
        }

    def _effects(self) -> None:
        names = ("logits", "logit_moments", "token_sets")
        if self.subject is None or self.coder is None:
            lacking = [name for name in ("subject", "coder") if getattr(self, name) is None]
            self.left_out |= dict.fromkeys(names, f"no --{' and no --'.join(lacking)} given")
            return
        s = self.settings
        try:
            found = effects.effects(
                self.subject, self.coder, self.cache, self.corpus,
                sets=self.token_sets, seed=s.seed, observer=self.observer,
            )  # fmt: skip
        except UsageError as error:
            self.left_out |= dict.fromkeys(names, str(error))
            return
        facts = {"method": found.method, "at": "the feature's largest activation", "tokens_sampled": found.n_tokens}
        for name, table in effects.tables(found).items():
            if table.num_rows:
                write(self.folder, name, [table])
                self.made[name] = {**facts, "vocabulary": len(found.tokens)}
        if "token_sets" in self.made:
            self.made["token_sets"] |= {
                "test": "z of the set's mean effect; Benjamini & Hochberg over features and sets"
            }

    def _neighbours(self) -> dict[str, similar.Near]:
        near: dict[str, similar.Near] = {}
        facts: dict[str, Any] = {}
        k = min(self.settings.neighbours, self.cache.n_features - 1)
        if k < 1:
            self.left_out["neighbours"] = "there is one feature"
            return near
        with Stage(self.observer, "neighbours", 3, "kind") as stage:
            for kind in ("decoder", "encoder"):
                if self.coder is None:
                    self.left_out[f"neighbours by {kind}"] = "no --coder given"
                else:
                    near[kind] = similar.by_cosine(getattr(self.coder, kind).float().cpu().numpy(), k)
                    facts[kind] = "cosine"
                stage.advance(1)
            try:
                near["co-activation"], share = similar.by_co_activation(self.cache, k, self.settings.seed)
                facts |= {"co-activation": "intersection over union of tokens", "sequences_sampled": share}
            except UsageError as error:
                self.left_out["neighbours by co-activation"] = str(error)
            stage.advance(1)
        if near:
            write(self.folder, "neighbours", [similar.rows(near)])
            self.made["neighbours"] = {"method": facts, "k": k}
        return near

    def _duplicates(self, near: Mapping[str, similar.Near]) -> None:
        by = next((kind for kind in ("decoder", "co-activation") if kind in near), None)
        if by is None:
            self.left_out["duplicates"] = "no neighbours"
            return
        import pyarrow as pa

        count = self.cache.statistics["count"]
        original = similar.duplicates(near[by], self.settings.duplicate, np.asarray(count))
        self.columns["duplicate_of"] = pa.array(original, mask=original < 0)
        self.made["duplicates"] = {"method": f"similarity by {by}", "at_least": self.settings.duplicate}

    def _map(self) -> None:
        if self.coder is None or not self.settings.umap:
            self.left_out["map"] = "no --coder given" if self.coder is None else "--no-umap"
            return
        import pyarrow as pa

        alive = np.flatnonzero(self.cache.statistics["count"])
        n = self.cache.n_features
        with Stage(self.observer, "map (compiles first, up to a minute)", len(alive), "feature") as stage:
            try:
                places, clusters = maps.decoder_map(self.coder.decoder.float().cpu().numpy()[alive], self.settings.seed)
            except (UsageError, MissingDependency) as error:
                self.left_out["map"] = str(error)
                return
            stage.advance(len(alive))
        for name, values in (("x", places[:, 0]), ("y", places[:, 1]), ("cluster", clusters)):
            whole, known = np.zeros(n, values.dtype), np.zeros(n, bool)
            whole[alive], known[alive] = values, True
            self.columns[name] = pa.array(whole, mask=~known)
        self.made["map"] = {
            "method": "UMAP (cosine) of decoder vectors of features that fire; HDBSCAN on the map",
            "n_neighbors": maps.NEIGHBOURS,
            "min_dist": maps.DISTANCE,
            "min_cluster_size": maps.CLUSTER,
            "min_samples": maps.SAMPLES,
        }

    def _manifest(self) -> dict[str, Any]:
        cache = self.cache
        return {
            "format": FORMAT,
            "version": VERSION,
            "cache": digest_json(cache.manifest),
            "corpus": self.corpus.digest,
            "coder": self.coder.digest if self.coder is not None else None,
            "subject": self.subject.name if self.subject is not None else None,
            "n_features": cache.n_features,
            "level": cache.level,
            "kind": cache.manifest["subject"]["kind"],
            "settings": asdict(self.settings),
            "tables": {name: how for name, how in self.made.items() if name in COLUMNS},
            "parts": {name: how for name, how in self.made.items() if name not in COLUMNS},
            "left_out": self.left_out,
        }


def _check_same(what: str, cache: ActivationCache, given: Any) -> None:
    """Refuse a coder or subject that the cache was not made with; an imported cache may not say what that was."""
    made_with = cache.manifest[what].get("digest")
    if given is not None and what == "coder" and given.n_features != cache.n_features:
        raise UsageError(f"the cache has {cache.n_features:,} features, the coder {given.n_features:,}")
    if given is not None and made_with and given.digest != made_with:
        raise UsageError(
            f"the cache was made with {what} {made_with[:12]}…, this {what} is {given.digest[:12]}…: "
            f"give the {what} that the cache was made with"
        )
