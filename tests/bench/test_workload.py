"""The workload: the same tensors each time, of real text or none, and fingerprints that see what they should."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from bench.batches import Batch
from bench.tasks import read_task
from tests.bench.small_models import CAUSAL, make, same


def test_real_text_under_its_tokenizer(minilm_folder: Path, shared_data: Path) -> None:
    asked: dict[str, Any] = {
        "model": str(minilm_folder),
        "task": "cola",
        "data_dir": shared_data / "glue",
        "batch_size": 16,
        "max_length": 128,
        "batches": 3,
    }
    work, again = make(**asked), make(**asked)
    assert same(work.batches + work.calibration_batches, again.batches + again.calibration_batches)
    assert (work.model_fingerprint, work.data_fingerprint) == (again.model_fingerprint, again.data_fingerprint)
    assert {tuple(batch["input_ids"].shape) for batch in work.batches} == {(16, 128)}
    assert 0.07 < work.description["active_token_share"] < 0.11  # 11.3 tokens of 128
    assert work.description["examples"] == 8_551 and work.description["calibration_disjoint"]
    labels = {e.texts[0].lower(): e.label for e in read_task("cola", data_dir=shared_data / "glue")}
    tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder))
    ids = work.batches[0]["input_ids"][0]
    (text,) = (text for text in labels if tokenizer(text)["input_ids"] == ids[ids != 0].tolist())
    assert labels[text] == work.batches[0]["labels"][0]
    assert not same(work.batches, make(**asked, seed=1).batches)


@pytest.mark.usefixtures("no_hub")
def test_a_preset_with_random_weights_needs_nothing() -> None:
    work = make(model="minilm-l6", random_weights=True, batch_size=32, max_length=128, batches=8)
    assert work.description["tokenizer"] == "none (random ids)"
    assert work.description["lengths"] == "lognormal:10.7:0.33"
    assert (work.lora_rank, work.every, work.targets) == (7, 1, None)
    lengths = torch.cat([batch["attention_mask"].sum(1) for batch in work.batches])
    assert float(lengths.double().log().mean().exp()) == pytest.approx(10.7, rel=0.06)
    assert float(lengths.double().log().std()) == pytest.approx(0.33, rel=0.15)
    assert set(work.batches[0]["labels"].tolist()) == {0, 1}
    llama = make(model="llama-2-7b", random_weights=True)
    assert (llama.lora_rank, llama.every, llama.description["head"]) == (32, 3, "causal")


@pytest.mark.usefixtures("no_hub")
def test_the_stand_in_is_recorded(texts: Path) -> None:
    work = make(model="minilm-l6", random_weights=True, task="stsb", data_dir=texts)
    assert work.description["tokenizer"] == "stand-in (hashed words)"
    assert work.description["head"] == "regression"
    assert work.batches[0]["labels"].dtype == torch.float32
    assert work.batches[0]["token_type_ids"].max() == 1
    json.dumps(work.description, allow_nan=False)


def test_padding(tiny: Callable[[str], Path], texts: Path) -> None:
    asked: dict[str, Any] = {"model": str(tiny("roberta")), "random_weights": True, "task": "cola", "data_dir": texts}
    widest, tight = make(**asked, padding="max"), make(**asked, padding="longest")
    for wide, narrow in zip(widest.batches, tight.batches, strict=True):
        width = int(narrow["attention_mask"].sum(1).max())
        assert wide["input_ids"].shape == (4, 16) and narrow["input_ids"].shape == (4, width) and width < 16
        assert torch.equal(wide["input_ids"][:, :width], narrow["input_ids"])
        assert (wide["input_ids"][wide["attention_mask"] == 0] == 1).all()  # RoBERTa's padding id
        assert "token_type_ids" not in wide
    active = sum(int(batch["attention_mask"].sum()) for batch in tight.batches)
    for work in (widest, tight):
        total = sum(batch["attention_mask"].numel() for batch in work.batches)
        assert work.description["active_token_share"] == pytest.approx(active / total, abs=1e-4)


@pytest.mark.parametrize("kind", sorted(CAUSAL))
def test_a_causal_model_learns_its_own_tokens(tiny: Callable[[str], Path], texts: Path, kind: str) -> None:
    batch = make(model=str(tiny(kind)), random_weights=True, task="cola", data_dir=texts).batches[0]
    active = batch["attention_mask"] == 1
    assert torch.equal(batch["labels"][active], batch["input_ids"][active])
    assert (batch["labels"][~active] == -100).all() and not active.all()


def test_calibration_takes_other_examples_until_there_are_none(tiny: Callable[[str], Path], texts: Path) -> None:
    def rows(batches: tuple[Batch, ...]) -> list[tuple[int, ...]]:
        return [tuple(row.tolist()) for batch in batches for row in batch["input_ids"]]

    asked: dict[str, Any] = {"model": str(tiny("bert")), "random_weights": True, "task": "cola", "data_dir": texts}
    work = make(**asked, batches=4, calibration_steps=2)
    assert len(set(rows(work.batches))) == 16 and len(set(rows(work.calibration_batches))) == 8
    assert not set(rows(work.batches)) & set(rows(work.calibration_batches))
    assert work.description["calibration_disjoint"] and work.description["epochs"] == pytest.approx(2 / 3, abs=1e-4)

    cycled = make(**asked, batches=12, calibration_steps=0)
    assert sorted(rows(cycled.batches)[:24]) == sorted(rows(cycled.batches)[24:])
    assert cycled.description["epochs"] == 2 and cycled.calibration_batches == ()
    assert not make(**asked, batches=6, calibration_steps=1).description["calibration_disjoint"]


def test_fingerprints_see_what_they_should(tiny: Callable[[str], Path], texts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(tiny("bert"), folder)
    base = make(model=str(folder))
    assert re.fullmatch("[0-9a-f]{16}", base.model_fingerprint)
    assert re.fullmatch("[0-9a-f]{16}", base.data_fingerprint)
    assert make(model=str(tiny("bert"))).model_fingerprint == base.model_fingerprint  # content, not place
    assert make(model=str(folder), dropout=0.5).model_fingerprint != base.model_fingerprint
    assert make(model=str(folder), random_weights=True).model_fingerprint != base.model_fingerprint
    seeded = [make(model=str(folder), random_weights=True, seed=seed).model_fingerprint for seed in (0, 1)]
    assert seeded[0] != seeded[1]
    assert make(model=str(folder), padding="longest").data_fingerprint != base.data_fingerprint
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    changed = make(model=str(folder))
    assert changed.model_fingerprint != base.model_fingerprint
    assert changed.data_fingerprint == base.data_fingerprint


def test_a_batch_holds_nothing_but_itself() -> None:
    """As views of all labels, those of one batch would count in a peak as those of every batch."""
    workload = make(model="minilm-l6", random_weights=True, batches=8)
    for tensor in workload.batches[0].values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
