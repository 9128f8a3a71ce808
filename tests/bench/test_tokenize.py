"""The stand-in tokenizer: the same ids everywhere, framed as a tokenizer would."""

import pytest
from transformers import AutoConfig

from bench.tokenize import HashTokenizer, SpecialIds


def test_hashed_words_are_stable() -> None:
    tokenizer = HashTokenizer(vocabulary=30_522, special=SpecialIds.of(AutoConfig.for_model("bert")), segments=True)
    assert tokenizer.special == SpecialIds(pad=0, cls=1, sep=2)
    one, pair, cut = tokenizer.encode(
        [("The cat, the cat.",), ("A cat", "a dog sat"), ("a b c d e f g h", "a b")], max_length=8
    )
    the, cat = tokenizer.word_id("the"), tokenizer.word_id("cat")
    # Fixed for good: another id would make other tensors of the same text.
    assert (the, cat) == (8208, 15492)
    assert one.input_ids == [1, the, cat, tokenizer.word_id(","), the, cat, tokenizer.word_id("."), 2]
    assert pair.token_type_ids == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(cut.input_ids) == 8 and cut.token_type_ids == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "t5", "gpt2", "llama", "mistral", "qwen2"])
def test_special_ids_leave_room_for_words(kind: str) -> None:
    config = AutoConfig.for_model(kind)
    special = SpecialIds.of(config)
    assert len({special.cls, special.sep, special.pad}) == 3
    assert max(special.cls, special.sep, special.pad) < special.first_word < config.vocab_size // 2 + 1
    if kind in ("bert", "roberta", "t5"):
        assert special.pad == config.pad_token_id
