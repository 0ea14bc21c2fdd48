"""States that were computed elsewhere: a folder of embeddings with sequence boundaries, read as a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from autointerp.errors import FormatError, UsageError
from autointerp.files import TensorFile, digest_file, digest_json
from autointerp.subjects.model import pick_device, pick_dtype
from autointerp.subjects.protocol import Hook, Tokens

if TYPE_CHECKING:
    from autointerp.corpus import Corpus

HOOK = "embeddings"


class Embeddings:
    """A subject that looks its states up instead of computing them.

    A folder holds ``embeddings.npy`` (or ``embeddings.safetensors`` with a tensor of that name), (n_rows, d) floats,
    one row a token, special tokens left out; ``offsets.npy``, (n_sequences + 1,) integers, where each sequence begins;
    ``ids.txt``, the sequences' ids, one a line. For texts also ``ends.npy``, (n_rows,), where each token's text ends
    (see :class:`~autointerp.subjects.protocol.Tokens`). The embeddings are memory-mapped.

    Token ids are row numbers. The only hook is ``embeddings``.

    Raises
    ------
    FormatError : a file is missing, or their sizes contradict each other.
    """

    causal = False
    n_layers = 0
    special_tokens: Mapping[str, int] = {}

    def __init__(self, folder: str | Path, *, device: str = "cpu", dtype: str = "float32") -> None:
        self.folder, self.name = Path(folder), f"embeddings:{Path(folder).name}"
        self.device, self.dtype, self._type = pick_device(device), dtype, pick_dtype(dtype)
        self._states = self._read_states()
        self._offsets = self._read("offsets.npy").astype(np.int64)
        self._ends = self._read("ends.npy").astype(np.int32) if (self.folder / "ends.npy").exists() else None
        self.kind = "protein" if self._ends is None else "text"
        n_rows, self.d_model = self._states.shape
        ids = self._lines("ids.txt")
        self._sequence_of = {name: i for i, name in enumerate(ids)}
        lengths = np.diff(self._offsets)
        if len(self._sequence_of) != len(ids):
            raise FormatError(self.folder / "ids.txt", "ids that differ", f"{len(ids) - len(self._sequence_of)} twice")
        if len(lengths) != len(ids) or self._offsets[0] or self._offsets[-1] != n_rows or (lengths < 0).any():
            raise FormatError(
                self.folder / "offsets.npy",
                f"{len(ids) + 1:,} ascending offsets from 0 to {n_rows:,}",
                f"{len(self._offsets):,} from {self._offsets[:1]} to {self._offsets[-1:]}",
            )
        if self._ends is not None and len(self._ends) != n_rows:
            raise FormatError(self.folder / "ends.npy", f"{n_rows:,} ends", f"{len(self._ends):,}")
        if n_rows >= 1 << 31:
            raise UsageError(f"{self.folder}: {n_rows:,} rows; at most 2^31 fit, split it")
        self.vocab_size, self.context_length = n_rows, int(lengths.max(initial=1))

    @cached_property
    def digest(self) -> str:
        """Digest of all files."""
        return digest_json({p.name: digest_file(p) for p in sorted(self.folder.iterdir()) if p.name in FILES})

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Refused: embeddings are found by id."""
        raise UsageError(f"{self.name} knows ids, not texts: use it with a corpus whose ids are those of ids.txt")

    def tokens_of(self, corpus: Corpus, rows: Sequence[int]) -> list[Tokens]:
        """Tokens of sequences of ``corpus``, found by their ids.

        Raises
        ------
        UsageError : an id without embeddings, or a protein with another number of residues than of embeddings.
        """
        found = []
        for row in rows:
            name = corpus.ids[row]
            if name not in self._sequence_of:
                raise UsageError(f"{self.folder} has no embeddings of {name!r}, which the corpus holds")
            begin, end = self._offsets[self._sequence_of[name] :][:2].tolist()
            ids = np.arange(begin, end, dtype=np.int32)
            if corpus.kind == "text":
                if self._ends is None:
                    raise UsageError(f"{self.folder}: texts need ends.npy, where each token's text ends")
                found.append(Tokens(ids, self._ends[begin:end]))
                continue
            if end - begin != (n := len(corpus.text(row))):
                raise UsageError(
                    f"{self.folder}: {end - begin} embeddings of {name!r}, which has {n} residues; special tokens "
                    "must be left out"
                )
            found.append(Tokens(ids, None))
        return found

    def hook(self, name: str) -> Hook:
        """The one hook there is."""
        if name != HOOK:
            raise UsageError(f"hook {name!r}: {self.name} has one, {HOOK}")
        return Hook(HOOK, self.d_model, None)

    def states(self, windows: Sequence[np.ndarray], hooks: Sequence[str]) -> dict[str, torch.Tensor]:
        """The rows of ``windows`` (row numbers), (n, d), for each hook."""
        for name in hooks:
            self.hook(name)
        rows = self._states[np.concatenate(windows)]
        states = torch.from_numpy(rows).to(self.device, self._type)
        return dict.fromkeys(hooks, states)

    def _read_states(self) -> np.ndarray:
        path = self.folder / "embeddings.safetensors"
        if path.exists():
            tensors = TensorFile(path).map()
            if HOOK not in tensors:
                raise FormatError(path, f"a tensor {HOOK!r}", ", ".join(tensors) or "none")
            states = tensors[HOOK]
        else:
            states = self._read("embeddings.npy", mmap_mode="r")
        if states.ndim != 2 or states.dtype.kind != "f":
            raise FormatError(self.folder, "embeddings (n_rows, d) of floats", f"{states.shape} of {states.dtype}")
        return states

    def _read(self, name: str, **options: Any) -> np.ndarray:
        try:
            return np.load(self.folder / name, allow_pickle=False, **options)
        except FileNotFoundError:
            raise FormatError(self.folder / name, "an array", "no such file") from None
        except (ValueError, EOFError, OSError) as error:
            raise FormatError(self.folder / name, "an array in NumPy's format", str(error)) from None

    def _lines(self, name: str) -> list[str]:
        try:
            return (self.folder / name).read_text("utf-8").splitlines()
        except FileNotFoundError:
            raise FormatError(self.folder / name, "one id a line", "no such file") from None


FILES = frozenset({"embeddings.npy", "embeddings.safetensors", "offsets.npy", "ids.txt", "ends.npy"})
