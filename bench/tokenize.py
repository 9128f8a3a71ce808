"""Text to token ids: a pretrained tokenizer, or a stand-in for it where none can be had."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.errors import BadRequest
from bench.hub import first_line, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

__all__ = [
    "TOKENIZER_FILES",
    "Encoding",
    "HashTokenizer",
    "PretrainedTokenizer",
    "SpecialIds",
    "Tokenizer",
    "has_tokenizer",
]

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
_WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One example: its ids (one at least), and as many segment ids where the tokenizer gives them."""

    input_ids: list[int]
    token_type_ids: list[int] | None


class Tokenizer(Protocol):
    """What the workload asks of a tokenizer; `kind` and `name` go into the record."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def pad_id(self) -> int: ...

    def encode(self, texts: Sequence[tuple[str, ...]], *, max_length: int) -> list[Encoding]:
        """Single texts or pairs to ids with special tokens, cut to `max_length`, not padded."""
        ...


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """The three ids that frame a sequence, and the first id that is free for words."""

    cls: int
    sep: int
    pad: int

    @property
    def first_word(self) -> int:
        """Words live in [first_word, vocabulary)."""
        return max(self.cls, self.sep, self.pad) + 1

    @classmethod
    def of(cls, config: "PreTrainedConfig") -> "SpecialIds":
        """The model's own ids where its config names small ones, else the lowest that are free."""

        def own(name: str) -> int | None:
            value = getattr(config, name, None)
            # Some (GPT-2) sit at the top of the vocabulary: above them no word would fit.
            return value if isinstance(value, int) and 0 <= value < config.vocab_size // 2 else None

        taken = [own("pad_token_id"), own("bos_token_id"), own("eos_token_id")]
        free = (i for i in range(len(taken) * 2) if i not in taken)
        pad, first, last = (next(free) if value is None else value for value in taken)
        return cls(cls=first, sep=last, pad=pad)


@dataclass(frozen=True, kw_only=True)
class HashTokenizer:
    """Words and punctuation marks to ids by sha256: the same on every machine, and no vocabulary file.

    It keeps what a benchmark needs of text (its lengths, repeated words under repeated ids), not its
    meaning: a trained model reads noise. It cuts no word into pieces, so sequences are a little shorter.
    """

    vocabulary: int
    special: SpecialIds
    segments: bool
    """Whether pairs get segment ids (a model with two token types)."""
    kind: str = "stand-in (hashed words)"
    name: str = "sha256"

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return self.special.pad

    def word_id(self, word: str) -> int:
        """The id of one lower-cased word or mark."""
        first = self.special.first_word
        digest = hashlib.sha256(word.lower().encode("utf-8", "surrogatepass")).digest()
        return first + int.from_bytes(digest[:8], "big") % (self.vocabulary - first)

    def encode(self, texts: Sequence[tuple[str, ...]], *, max_length: int) -> list[Encoding]:
        """`cls A sep` or `cls A sep B sep`; the longer text of a pair is cut first."""
        return [self._encode([_WORDS.findall(text) for text in example], max_length) for example in texts]

    def _encode(self, parts: list[list[str]], max_length: int) -> Encoding:
        room = max_length - 1 - len(parts)
        while sum(map(len, parts)) > room:
            longest = max(parts, key=len)
            longest.pop()
        ids, segments = [self.special.cls], [0]
        for segment, words in enumerate(parts):
            ids += [*map(self.word_id, words), self.special.sep]
            segments += [segment] * (len(words) + 1)
        return Encoding(input_ids=ids, token_type_ids=segments if self.segments else None)


class PretrainedTokenizer:
    """A tokenizer of transformers, loaded from a folder."""

    kind = "pretrained"

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, name: str, segments: bool) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._segments = segments
        pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.pad_id: int = pad if pad is not None else end if end is not None else 0
        self.mask_id: int | None = tokenizer.mask_token_id
        self.special_ids: frozenset[int] = frozenset(tokenizer.all_special_ids)

    @classmethod
    def load(cls, folder: Path, *, name: str, segments: bool) -> "PretrainedTokenizer":
        """From a folder with tokenizer files; BadRequest if it has none or they cannot be read."""
        from transformers import AutoTokenizer

        # Without this check transformers 5 makes an empty tokenizer that maps every word to the same id.
        if not has_tokenizer(folder):
            raise BadRequest(
                f"no tokenizer in {folder} (none of {', '.join(TOKENIZER_FILES)}); give --tokenizer FOLDER"
            )
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(
                    str(folder),
                    local_files_only=True,
                    trust_remote_code=False,
                )
        except Exception as error:
            # Rust and Python tokenizers raise their own, unrelated exceptions for files they cannot read.
            raise BadRequest(
                f"cannot read the tokenizer in {folder} ({first_line(error)}); give --tokenizer FOLDER"
            ) from error
        return cls(tokenizer, name=name, segments=segments)

    def encode(self, texts: Sequence[tuple[str, ...]], *, max_length: int) -> list[Encoding]:
        """As the tokenizer joins and cuts them. Segment ids stay where the model has more than one type."""
        columns = [list(column) for column in zip(*texts, strict=True)]
        with quiet():
            rows = self._tokenizer(*columns, truncation=True, max_length=max_length)
        segments = rows.get("token_type_ids") if self._segments else None
        encodings = []
        for i, ids in enumerate(rows["input_ids"]):
            # A tokenizer without special tokens gives nothing for an empty text; attention needs one token.
            kept = list(ids) or [self.pad_id]
            types = None if segments is None else list(segments[i]) or [0]
            encodings.append(Encoding(input_ids=kept, token_type_ids=types))
        return encodings


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)
