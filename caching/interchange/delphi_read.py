"""delphi's folder of one hookpoint as a cache and a corpus whose sequences are delphi's contexts.

Each of delphi's shards becomes a block that holds some features of all sequences; compaction then does what it does to
blocks of any other run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache import ActivationCache
from autointerp.cache.layout import token_dtype
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.files import digest_file, read_json
from autointerp.progress import Observer, Stage
from caching.blocks import count_sequences, write_block
from caching.interchange.delphi_folder import CONFIG, Contexts, Shard, find_shards
from caching.interchange.finish import by_feature, check_grouping, finish, group
from caching.interchange.staging import staged
from caching.interchange.vocabulary import Vocabulary


@dataclass(frozen=True)
class Read:
    """A new cache and its corpus, and what was left out.

    Attributes
    ----------
    special_dropped, activations_dropped : special tokens, and activations at them.
    """

    cache: ActivationCache
    corpus: Corpus
    special_dropped: int
    activations_dropped: int


def read_delphi(
    folder: str | Path,
    out: str | Path,
    corpus_out: str | Path,
    vocabulary: Vocabulary,
    *,
    group_by: str = "none",
    shard_activations: int = 1 << 22,
    observer: Observer | None = None,
) -> Read:
    """Read the hookpoint in ``folder`` and write a cache and a corpus; both are there whole or not at all.

    Special tokens are left out, as in every cache. Memory: the contexts' text, 20 bytes for each of their tokens, and
    one of delphi's shards, about 40 bytes for each of its activations.

    Parameters
    ----------
    vocabulary : of the tokenizer that made delphi's tokens: they are numbers, and the corpus is text.
    group_by : ``none``: each context is a group, for delphi does not say which come from one document; or ``identity``,
        for proteins: homologues share a group.
    shard_activations : as in :func:`caching.compact.compact`.

    Raises
    ------
    FormatError : not such a folder; shards missing, of two runs, without tokens or with impossible values.
    UsageError : tokens that are not of the vocabulary, or something is at ``out`` or ``corpus_out`` already.
    """
    folder = Path(folder)
    check_grouping(group_by, "none", "identity")
    config = read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
    shards = find_shards(folder, config)
    contexts = Contexts(folder, shards, vocabulary)
    with staged(Path(out)) as cache_folder, staged(Path(corpus_out)) as corpus_folder:
        corpus, ends = _write_corpus(corpus_folder, contexts, vocabulary, group_by, folder.name)
        blocks, dropped = _write_blocks(cache_folder, shards, contexts, ends, observer)
        facts = _facts(folder.name, config, shards, contexts, vocabulary) | blocks
        finish(cache_folder, facts, corpus, shard_activations, observer)
    return Read(ActivationCache.open(out), Corpus.open(corpus_out), contexts.n_special, dropped)


def _write_corpus(
    folder: Path, contexts: Contexts, vocabulary: Vocabulary, group_by: str, hookpoint: str
) -> tuple[Corpus, np.ndarray | None]:
    """Write the contexts' text; return the corpus and, for text, where each token ends, in characters."""
    import pyarrow as pa

    texts, sizes, ids = [], [], contexts.ids()
    for a, b in zip(contexts.offsets[:-1], contexts.offsets[1:], strict=True):
        pieces = vocabulary.pieces(ids[a:b].tolist())
        texts.append("".join(pieces))
        sizes.append(np.fromiter(map(len, pieces), np.int64, len(pieces)))
        if vocabulary.kind == "protein" and not np.all(sizes[-1] == 1):
            raise UsageError(f"{vocabulary.name}: a token that is not one residue; is this the model's tokenizer?")
    groups, grouping = group(texts, vocabulary.kind, group_by)
    columns = {"id": [f"context-{i}" for i in range(len(texts))], "text": texts, "group": groups}
    source = {"format": "delphi", "hookpoint": hookpoint, "tokenizer": vocabulary.name}
    corpus = Corpus.write(folder, pa.table(columns), kind=vocabulary.kind, source=source, grouping=grouping)
    if vocabulary.kind == "protein":
        return corpus, None
    return corpus, np.concatenate([np.cumsum(s) for s in sizes]).astype(np.uint32)


def _write_blocks(
    folder: Path, shards: list[Shard], contexts: Contexts, ends: np.ndarray | None, observer: Observer | None
) -> tuple[dict[str, Any], int]:
    """One block a shard, the tokens in the first; return fields of the manifest and the activations left out."""
    n_features, dropped, entries = shards[-1].last + 1, 0, []
    value_dtype = np.dtype(np.float32 if max(s.value_dtype.itemsize for s in shards) > 2 else np.float16)
    rank = np.cumsum(contexts.content, dtype=np.uint32) - np.uint32(1)  # a place's index among the content tokens
    ids = contexts.ids()
    text = {"tokens": ids.astype(token_dtype(int(ids.max(initial=0)))), "offsets": contexts.offsets}
    if ends is not None:
        text["ends"] = ends
    with Stage(observer, "reading", sum(map(len, shards)), "activation") as stage:
        for index, shard in enumerate(shards):
            codes, lost = _codes(shard, contexts, rank, value_dtype)
            tensors = _block(shard, codes, contexts.offsets, n_features, value_dtype) | text
            entries.append(write_block(folder, index, tensors, 0, len(contexts)))
            text = {name: array[: int(name == "offsets")] for name, array in text.items()}  # of no sequence
            dropped += lost
            stage.advance(len(shard))
    return {"n_features": n_features, "value_dtype": value_dtype.name, "blocks": entries}, dropped


def _codes(shard: Shard, contexts: Contexts, rank: np.ndarray, dtype: np.dtype) -> tuple[csr_array, int]:
    """A shard as a matrix (tokens, its latents) of the values' bits, and its activations at special tokens."""
    tensors, path = shard.file.map(), shard.file.path
    limits = (len(contexts), contexts.length, shard.last - shard.first + 1)
    context, position, latent = tensors["locations"].T
    columns = {"contexts": context, "positions": position, "latents": latent}
    for (name, column), limit in zip(columns.items(), limits, strict=True):
        if len(column) and not 0 <= column.min() <= column.max() < limit:
            raise FormatError(path, f"{name} 0 … {limit - 1}", f"{column.min()} … {column.max()}")
    with np.errstate(over="ignore"):
        value = tensors["activations"].astype(dtype)
    if not np.all(np.isfinite(value) & (value >= 0)):
        raise FormatError(path, "activations that are finite and not negative", f"{value.min()} … {value.max()}")
    place = context.astype(np.int64)
    place *= contexts.length
    place += position.astype(np.int64)
    inside = contexts.content[place]
    kept = np.flatnonzero(inside & (value > 0))
    token = rank[place[kept]]
    del place  # these arrays are what reading takes of memory
    if np.any(token[1:] < token[:-1]):
        order = np.argsort(token, kind="stable")
        kept, token = kept[order], token[order]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(token, minlength=contexts.n_tokens))])
    bits = value[kept].view(f"u{dtype.itemsize}")
    codes = csr_array((bits, latent[kept].astype(np.int32), indptr), (contexts.n_tokens, limits[2]))
    return codes, len(inside) - int(np.count_nonzero(inside))


def _block(
    shard: Shard, codes: csr_array, offsets: np.ndarray, n_features: int, dtype: np.dtype
) -> dict[str, np.ndarray]:
    """The tensors of a block in which all features but the shard's are silent."""
    indptr, token, bits = by_feature(codes, shard.file.path)
    sequences = np.zeros(n_features, np.int64)
    sequences[shard.first : shard.last + 1] = count_sequences(indptr, token, offsets)
    return {
        "indptr": np.pad(indptr, (shard.first, n_features - 1 - shard.last), "edge"),
        "token": token.astype(np.uint32),
        "value": bits.view(dtype),
        "n_sequences": sequences,
    }


def _facts(
    hookpoint: str, config: dict[str, Any], shards: list[Shard], contexts: Contexts, vocabulary: Vocabulary
) -> dict[str, Any]:
    """What ``cache.json`` says of the source; None where delphi does not say."""
    files = {shard.file.path.name: digest_file(shard.file.path) for shard in shards}
    return {
        "level": "token",
        "pooling": None,
        "subject": {
            "name": str(config.get("model_name", "unknown")),
            "digest": None,
            "kind": vocabulary.kind,
            "causal": None,
            "hook": hookpoint,
            "context_length": contexts.length,
            "dtype": "unknown type",
        },
        "special_tokens": {"rule": "left out by id", "ids": dict(vocabulary.special)},
        "coder": {"digest": None, "architecture": "unknown", "d_in": None, "k": None},
        "settings": {"hook": hookpoint, "level": "token", "source": {"format": "delphi", "files": files}},
    }
