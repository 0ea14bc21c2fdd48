"""A cache as delphi's folder of one hookpoint.

The format is delphi 0.1's (EleutherAI/delphi, ``latents/cache.py``): equally long contexts of token ids, and shards of
consecutive latents whose rows are (context, position, latent − first latent of the shard), in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache import ActivationCache
from autointerp.errors import FormatError, UsageError, missing
from autointerp.files import write_json, write_tensor_stream
from autointerp.progress import Observer, Stage
from caching.blocks import feature_major, plan_blocks
from caching.interchange.delphi_folder import CONFIG
from caching.interchange.staging import staged

CHUNK = 1 << 20  # tokens, positions or activations looked at together
TAILS = ("pad", "drop")


@dataclass(frozen=True)
class Written:
    """A delphi folder, and what of the cache does not stand in it.

    Attributes
    ----------
    folder : of the hookpoint.
    n_contexts, n_activations : what stands in it.
    n_padding : positions filled up with the pad token.
    tokens_dropped, activations_dropped : in ends of sequences that fill no context (``tails="drop"``).
    activations_underflown : that are zero in float16, the only type delphi knows.
    """

    folder: Path
    n_contexts: int
    n_activations: int
    n_padding: int
    tokens_dropped: int
    activations_dropped: int
    activations_underflown: int


def write_delphi(
    cache: ActivationCache,
    out: str | Path,
    *,
    hookpoint: str | None = None,
    ctx_len: int = 256,
    n_splits: int = 5,
    tails: str = "pad",
    pad_id: int | None = None,
    model_name: str | None = None,
    observer: Observer | None = None,
) -> Written:
    """Write ``cache`` as folder ``out/hookpoint``, which is there whole or not at all.

    Memory: one of delphi's shards, about 40 bytes for each of its activations; more ``n_splits`` make it less.

    Parameters
    ----------
    hookpoint : name of the folder; the cache's hook by default.
    ctx_len : tokens of a context. Each sequence is cut into contexts of its own, from its first token on.
    tails : the end of a sequence that fills no context is filled up (``pad``) or left out (``drop``).
    pad_id : token that fills it up; by default the subject's pad token, or its end token where it has none.
    model_name : name under which delphi finds the tokenizer; the subject's by default.

    Raises
    ------
    UsageError : a level other than ``token``, capped features, a setting out of range, no pad token, or the folder
        exists.
    FormatError : the cache is unfinished, or holds an activation beyond float16.
    """
    manifest = cache.manifest
    if cache.level != "token":
        raise UsageError(f"{cache.path} is of level {cache.level}: delphi knows activations of tokens only")
    if not cache.complete:
        raise FormatError(cache.path, "a finished cache", "an unfinished one; finish it first")
    cache.check_whole("delphi's format, which takes what is absent for silent,")
    if ctx_len < 1:
        raise UsageError(f"ctx_len {ctx_len}: must be at least 1")
    if tails not in TAILS:
        raise UsageError(f"tails {tails!r}: valid are {', '.join(TAILS)}")
    folder = Path(out) / (hookpoint or manifest["subject"]["hook"])
    contexts = _Contexts(np.asarray(cache.offsets), ctx_len, tails == "drop")
    filler = (_pad_id(manifest["special_tokens"]["ids"]) if pad_id is None else pad_id) if contexts.n_padding else 0
    ranges = list(pairwise(boundaries(cache.n_features, n_splits)))
    written = dropped = underflown = 0
    # staged, because delphi takes a folder that is there for a finished one
    with staged(folder) as partial, Stage(observer, "writing", manifest["n_activations"], "activation") as stage:
        for first, stop in ranges:
            latents, lost, zeros = _by_position(cache, contexts, first, stop)
            _write_shard(partial / f"{first}_{stop - 1}.safetensors", latents, cache.tokens, contexts, filler)
            written, dropped, underflown = written + len(latents[1]), dropped + lost, underflown + zeros
            stage.advance(len(latents[1]) + lost + zeros)
        write_json(partial / CONFIG, _config(cache, contexts, n_splits, model_name))
    return Written(folder, len(contexts), written, contexts.n_padding, contexts.n_dropped, dropped, underflown)


def boundaries(n_features: int, n_splits: int) -> list[int]:
    """First latents of delphi's shards, and ``n_features``: ``linspace`` with its rounding in float32, truncated.

    Raises
    ------
    UsageError : fewer than one shard, or a shard without a latent.
    """
    if not 1 <= n_splits <= n_features:
        raise UsageError(f"n_splits {n_splits}: with {n_features} features 1 to {n_features} are possible")
    with missing("writing delphi's caches", "torch"):
        import torch
    return torch.linspace(0, n_features, steps=n_splits + 1).long().tolist()


class _Contexts:
    """Where the tokens of a cache stand in contexts of ``length`` tokens.

    A *place* is context × length + position. ``n_padding`` places hold no token, ``n_dropped`` tokens have no place.
    """

    def __init__(self, offsets: np.ndarray, length: int, drop: bool) -> None:
        self.offsets, self.length = offsets, length
        sizes = np.diff(offsets)
        self.base = np.concatenate([[0], np.cumsum(sizes // length if drop else -(-sizes // length))])
        whole = np.diff(self.base) * length
        self.n_padding = int(np.maximum(whole - sizes, 0).sum())
        self.n_dropped = int(np.maximum(sizes - whole, 0).sum())

    def __len__(self) -> int:
        return int(self.base[-1])

    def places(self, tokens: np.ndarray) -> np.ndarray:
        """(n,) int64 places of flat token positions, −1 for tokens that have none."""
        result = np.empty(len(tokens), np.int64)
        for a in range(0, len(tokens), CHUNK):
            part = tokens[a : a + CHUNK].astype(np.int64)
            row = np.searchsorted(self.offsets, part, "right") - 1
            place = part - self.offsets[row] + self.base[row] * self.length
            result[a : a + CHUNK] = np.where(place < self.base[row + 1] * self.length, place, -1)
        return result

    def fill(self, tokens: np.ndarray, filler: int) -> Iterator[np.ndarray]:
        """The contexts' token ids as int64, some sequences at a time."""
        for first, last in plan_blocks(np.diff(self.offsets), CHUNK):
            low, high = self.offsets[first], self.offsets[last]
            filled = np.full((self.base[last] - self.base[first]) * self.length, filler, np.int64)
            place = self.places(np.arange(low, high)) - self.base[first] * self.length
            kept = place >= 0
            filled[place[kept]] = tokens[low:high][kept]
            yield filled


def _by_position(
    cache: ActivationCache, contexts: _Contexts, first: int, stop: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], int, int]:
    """Activations of latents ``first`` … ``stop − 1``, place after place.

    Returns
    -------
    (indptr over places, latents less ``first``, float16 values), how many are in dropped tails, and how many are zero
    in float16.
    """
    pieces = [cache[feature] for feature in range(first, stop)]
    counts = [len(tokens) for tokens, _ in pieces]
    place = contexts.places(np.concatenate([tokens for tokens, _ in pieces]))
    with np.errstate(over="ignore"):
        value = np.concatenate([values.astype(np.float16) for _, values in pieces])
    if not np.isfinite(value).all():
        raise FormatError(cache.path, f"activations up to {np.finfo(np.float16).max:g}, float16's limit", "larger ones")
    inside = place >= 0
    kept = inside & (value > 0)
    row = np.repeat(np.arange(stop - first, dtype=np.int32), counts)[kept]
    indptr = np.searchsorted(row, np.arange(stop - first + 1))
    size = len(contexts) * contexts.length
    # a transposition is its own inverse: features are the rows that go in, places those that come out
    codes = csr_array((value[kept].view(np.uint16), place[kept], indptr), (stop - first, size))
    indptr, latent, bits = feature_major(codes)
    lost = len(inside) - int(np.count_nonzero(inside))
    return (indptr, latent, bits.view(np.float16)), lost, len(inside) - lost - len(bits)


def _write_shard(
    path: Path,
    latents: tuple[np.ndarray, np.ndarray, np.ndarray],
    tokens: np.ndarray,
    contexts: _Contexts,
    filler: int,
) -> None:
    indptr, latent, value = latents
    last = int(np.searchsorted(indptr, len(latent))) - 1 if len(latent) else 0  # the last place with an activation
    largest = max(last // contexts.length, int(latent.max(initial=0)), contexts.length - 1)
    kind = np.dtype(np.uint16 if largest < 1 << 16 else np.uint32)
    shape = (len(contexts), contexts.length)
    write_tensor_stream(
        path,
        {
            "locations": (kind, (len(latent), 3), _locations(indptr, latent, contexts.length, kind)),
            "activations": (np.dtype(np.float16), value.shape, [value]),
            "tokens": (np.dtype(np.int64), shape, contexts.fill(tokens, filler)),
        },
    )


def _locations(indptr: np.ndarray, latent: np.ndarray, length: int, kind: np.dtype) -> Iterator[np.ndarray]:
    for a in range(0, len(indptr) - 1, CHUNK // 8):
        bounds = indptr[a : a + CHUNK // 8 + 1]
        place = np.repeat(np.arange(a, a + len(bounds) - 1), np.diff(bounds))
        yield np.stack([place // length, place % length, latent[bounds[0] : bounds[-1]]], 1).astype(kind)


def _pad_id(special: dict[str, int]) -> int:
    names = {name.strip("<>[]|").lower(): token for name, token in special.items()}
    for name in ("pad", "eos", "endoftext"):
        if name in names:
            return names[name]
    known = ", ".join(special) or "none"
    raise UsageError(f"no pad token among the subject's special tokens ({known}): give --pad-id, or --tails drop")


def _config(cache: ActivationCache, contexts: _Contexts, n_splits: int, model_name: str | None) -> dict[str, object]:
    """delphi's CacheConfig of this cache, and the model's name."""
    return {
        "dataset_repo": f"autointerp corpus {cache.manifest['corpus']['digest']}",
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "text",
        "batch_size": 1,
        "cache_ctx_len": contexts.length,
        "n_tokens": len(contexts) * contexts.length,
        "n_splits": n_splits,
        "model_name": model_name or cache.manifest["subject"]["name"],
    }
