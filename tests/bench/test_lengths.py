"""Length laws: read, refused, drawn, and the default fitted to real text."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from bench.errors import BadRequest
from bench.lengths import DEFAULT_LENGTHS, LengthLaw
from bench.tasks import read_task


def test_the_default_lengths_are_colas(minilm_folder: Path, shared_data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder))
    texts = [example.texts[0] for example in read_task("cola", data_dir=shared_data / "glue")]
    logs = torch.tensor([math.log(len(ids)) for ids in tokenizer(texts)["input_ids"]], dtype=torch.float64)
    assert DEFAULT_LENGTHS.median_tokens == pytest.approx(float(logs.mean().exp()), abs=0.05)
    assert DEFAULT_LENGTHS.sigma == pytest.approx(float(logs.std(correction=0)), abs=0.005)
    assert DEFAULT_LENGTHS.low == round(float(logs.min().exp()))


@pytest.mark.parametrize(
    ("text", "shortest", "longest"),
    [("lognormal:40:0.33", 12, 133), ("lognormal:64:0", 64, 64), ("fixed:3", 3, 3), ("fixed:128", 128, 128)],
)
def test_lengths_read_back(text: str, shortest: int, longest: int) -> None:
    law = LengthLaw.parse(text)
    assert str(law) == text
    drawn = law.draw(100, max_length=200, generator=torch.Generator().manual_seed(0))
    assert shortest <= min(drawn) <= max(drawn) <= longest
    assert (len(set(drawn)) > 1) == (shortest < longest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fixed",
        "fixed:x",
        "fixed:2",
        "fixed:7.5",
        "fixed:1:2",
        "lognormal:10",
        "lognormal:nan:1",
        "lognormal:inf:1",
        "lognormal:1:1",
        "lognormal:10:-1",
        "lognormal:10:9",
        "lognormal:10:1:1",
        "normal:3:1",
    ],
)
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^--lengths .*lognormal:MEDIAN:SIGMA.* or fixed:N"):
        LengthLaw.parse(text)


def test_clipping() -> None:
    drawn = LengthLaw(median_tokens=10, sigma=3).draw(1000, max_length=12, generator=torch.Generator().manual_seed(0))
    assert (min(drawn), max(drawn)) == (4, 12)
