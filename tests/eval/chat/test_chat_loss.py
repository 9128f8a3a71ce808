"""The loss of replies: equal to its definition in float64, the same in parts, and the mean that each record tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.train import LossNotFinite
from eval.chat.cell import Cell
from eval.chat.finetune import finetune
from eval.chat.loss import batch_of, by_tree, reply_nll, row_of
from eval.chat.rendering import IGNORED, Rendered

DEVICE = torch.device("cpu")


@pytest.fixture
def model() -> Any:
    """Random weights, float64."""
    config = LlamaConfig(
        vocab_size=17, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).double()


def texts() -> list[Rendered]:
    """Five texts of three trees, of several lengths, with every third token counted."""
    drawn = torch.Generator().manual_seed(1)
    made = []
    for at, tree in enumerate("abacb"):
        ids = torch.randint(1, 17, (5 + 2 * at,), generator=drawn).tolist()
        labels = [token if index % 3 == 2 else IGNORED for index, token in enumerate(ids)]
        made.append(Rendered(tree=tree, input_ids=ids, labels=labels))
    return made


@torch.no_grad()
def by_definition(model: Any, text: Rendered) -> float:
    """-log p(token | those before it), one prefix at a time."""
    total = 0.0
    for at, label in enumerate(text.labels):
        if label != IGNORED:
            logits_V = model(input_ids=torch.tensor([text.input_ids[:at]])).logits[0, -1].double()
            total -= float(torch.log_softmax(logits_V, -1)[label])
    return total


@torch.no_grad()
def test_the_loss_is_its_definition_whatever_it_is_padded_with(model: Any) -> None:
    told = texts()
    wanted = [by_definition(model, text) for text in told]
    for filler in (0, 5):
        nll_B, count_B = reply_nll(model, batch_of([row_of(text) for text in told], filler=filler))
        assert nll_B.tolist() == pytest.approx(wanted, rel=1e-5)  # the logits go to fp32, as in training
        assert count_B.tolist() == [text.counted for text in told]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_branches_of_a_tree_count_together(model: Any, batch_size: int) -> None:
    told = texts()
    found = by_tree(model.train(), told, DEVICE, batch_size=batch_size)
    assert [loss.tree for loss in found] == ["a", "b", "c"] and model.training
    for loss in found:
        own = [text for text in told if text.tree == loss.tree]
        assert loss.tokens == sum(text.counted for text in own)
        assert loss.nll == pytest.approx(sum(by_definition(model, text) for text in own), rel=1e-5)


def test_a_loss_that_is_no_number_is_an_error(model: Any) -> None:
    with torch.no_grad():
        model.lm_head.weight[3, 0] = float("nan")
    with pytest.raises(LossNotFinite):
        by_tree(model, texts(), DEVICE, batch_size=2)


@pytest.mark.parametrize("method", ["full", "lora", "meprop", "sparsegrad-compact"])
def test_an_update_in_parts_is_the_update_at_once(cell: Callable[..., Cell], tmp_path: Path, method: str) -> None:
    """Each counted token weighs the same, though the parts hold unequal numbers of them."""
    nll = {}
    for parts in (1, 2, 4):
        made = cell(method=method, steps=3, accumulate=parts, padding="longest", lr=1e-3)
        bases = None
        if made.calibration_config() is not None:
            bases = tmp_path / "bases.safetensors"
            made.calibrate(bases, 1)
        nll[parts] = finetune(made, tmp_path / f"{parts}", bases, 1)["nll"]
    assert nll[2] == pytest.approx(nll[1], rel=1e-5) and nll[4] == pytest.approx(nll[1], rel=1e-5)
    frozen = finetune(cell(method="frozen"), tmp_path / "frozen", None, 1)["nll"]
    assert max(abs(a - b) for a, b in zip(frozen, nll[1], strict=True)) > 1e-3


def test_gradient_checkpointing_changes_nothing(cell: Callable[..., Cell], tmp_path: Path) -> None:
    for method in ("full", "lora", "meprop"):
        nll = [
            finetune(cell(method=method, gradient_checkpointing=on), tmp_path / f"{method}{on}", None, 1)["nll"]
            for on in (False, True)
        ]
        assert nll[0] == pytest.approx(nll[1], rel=1e-6)


def test_the_loss_told_is_the_mean_over_conversations(cell: Callable[..., Cell], tmp_path: Path) -> None:
    told = finetune(cell(method="frozen"), tmp_path, None, 1)
    each = [nll / tokens for nll, tokens in zip(told["nll"], told["tokens"], strict=True)]
    assert told["valid_loss"] == pytest.approx(sum(each) / len(each))
    assert told["valid_loss_by_token"] == pytest.approx(sum(told["nll"]) / sum(told["tokens"]))
    assert len(set(told["conversations"])) == len(each) == told["valid_conversations"]
    assert told["saved"] is None and told["steps"] == 0
