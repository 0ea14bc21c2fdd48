"""Token ids back to text: what a cache of another tool does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autointerp.errors import UsageError, missing

RESIDUES = frozenset("ACDEFGHIKLMNPQRSTVWY")
BROKEN = "\ufffd"  # what decoders write for a byte that completes no character


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer.

    Attributes
    ----------
    name : of the tokenizer.
    kind : ``"protein"`` if a token is a residue, else ``"text"``.
    size : ids are below it.
    special : name to id of tokens that are not content.
    decode : text of consecutive tokens as it stands inside a text, leading spaces included.
    """

    name: str
    kind: str
    size: int
    special: Mapping[str, int]
    decode: Callable[[Sequence[int]], str]
    _known: dict[int, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, name: str) -> Vocabulary:
        """The vocabulary of a Hugging Face tokenizer, by name or folder.

        Raises
        ------
        UsageError : there is none.
        """
        with missing("reading tokenizers", "torch"):
            from transformers import AutoTokenizer
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(f"tokenizer {name}: {reason}") from error
        vocabulary = tokenizer.get_vocab()
        marked = {str(token): i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        special = marked | {token: vocabulary[token] for token in tokenizer.all_special_tokens if token in vocabulary}
        size = max(vocabulary.values()) + 1
        if set(vocabulary) >= RESIDUES and max(len(t) for t in vocabulary if t not in special and t[:1] != "<") == 1:
            letters = {i: token for token, i in vocabulary.items() if len(token) == 1}
            others = {token: i for token, i in vocabulary.items() if len(token) > 1}
            return cls(name, "protein", size, others, lambda ids: "".join(letters[i] for i in ids))
        unknown = tokenizer.unk_token
        if unknown in special and list(tokenizer.special_tokens_map.values()).count(unknown) == 1:
            del special[unknown]  # content of a text that the tokenizer cannot spell
        return cls(name, "text", size, special, _inside(tokenizer))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token. A token shows nothing where a later one completes its character."""
        pieces = [self._piece(i) for i in ids]
        start = 0
        while (start := next((i for i in range(start, len(ids)) if BROKEN in pieces[i]), len(ids))) < len(ids):
            stop = next((i for i in range(start, len(ids)) if BROKEN not in pieces[i]), len(ids))
            for end in range(start + 1, min(stop, start + 4) + 1):  # a character has four bytes at the most
                if BROKEN not in (text := self.decode(ids[start:end])):
                    pieces[start:end] = [""] * (end - start - 1) + [text]
                    break
            else:
                end = start + 1
            start = end
        return pieces

    def _piece(self, token: int) -> str:
        piece = self._known.get(token)
        if piece is None:
            piece = self._known[token] = self.decode([token])
        return piece


def _inside(tokenizer: object) -> Callable[[Sequence[int]], str]:
    """Decode as if after a word: alone, many tokenizers take the leading space from a token."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]  # type: ignore[operator]

    def text(ids: Sequence[int]) -> str:
        return tokenizer.decode([int(i) for i in ids], clean_up_tokenization_spaces=False)  # type: ignore[attr-defined]

    before = text(anchor)

    def decode(ids: Sequence[int]) -> str:
        both = text([*anchor, *ids])
        return both[len(before) :] if both.startswith(before) else text(ids)

    return decode
