"""Conversations under torchrun and accelerate launch: the losses and the model of a single process, and one record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.record import Record, Status
from bench.store import Store
from eval.chat.__main__ import main
from eval.chat.loss import batch_of, reply_nll
from tests.eval.launching import launched

Words = Callable[..., list[str]]
# Dynamic support, where nothing is left to DDP, beside what DDP averages.
METHODS = {"torchrun": ["full", "sparsegrad-planned", "frozen"], "accelerate": ["lora", "sparsegrad-compact"]}


@pytest.fixture
def words(llama_folder: Path, roleplay: Path) -> Words:
    """words(out, ...): two epochs of the 23 conversations that have a reply, in updates of 4 and backwards of 2. The
    last update of an epoch has a backward of 2 and one of 1, in which one of two processes has nothing to do."""

    def make(out: Path, *more: object, methods: list[str]) -> list[str]:
        shape = ["--model", llama_folder, "--data", roleplay, "--limit", 28, "--max-length", 96, "--every", 2]
        short = ["--epochs", 2, "--batch-size", 4, "--accumulate", 2, "--calibration-steps", 2, "--kept", 0.05]
        rest = ["--lr", 1e-3, "--seeds", 1, "--save", "merged", "--device", "cpu", "--quiet", "--json"]
        rest += ["--lora-rank", 2] if "lora" in methods else []
        return [str(word) for word in (*shape, *short, *rest, "--methods", *methods, "--out", out, *more)]

    return make


def records(out: Path) -> dict[str, Record]:
    """Method -> the one record of its run."""
    found, damaged = Store(out).read_all("chat")
    assert not damaged and len({record.config["method"] for record in found}) == len(found)
    return {record.config["method"]: record for record in found}


def weights(out: Path, record: Record) -> dict[str, torch.Tensor]:
    """Of the model that the run has saved."""
    return load_file(out / "models" / record.result["saved"]["folder"] / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "methods"), METHODS.items())
def test_two_processes_file_what_one_would(words: Words, tmp_path: Path, launcher: str, methods: list[str]) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert main(words(alone, methods=methods)) == 0
    done = launched(launcher, "eval.chat", words(both, methods=methods))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == len(methods)  # only one of them prints
    single, double = records(alone), records(both)
    assert single.keys() == double.keys() == set(methods)
    for method, record in double.items():
        told, wanted = record.result, single[method].result
        assert record.key == single[method].key and (told["processes"], wanted["processes"]) == (2, 1)
        assert told["train_conversations"] == 23
        assert told["steps"] == wanted["steps"] == (0 if method == "frozen" else 12)
        # fp32: sums come in another order.
        assert [x for _, x in told["losses"]] == pytest.approx([x for _, x in wanted["losses"]], rel=1e-5)
        assert told["nll"] == pytest.approx(wanted["nll"], rel=1e-5)
        if method != "frozen":
            torch.testing.assert_close(weights(both, record), weights(alone, single[method]), rtol=0, atol=1e-5)
    assert main(words(both, methods=methods)) == 0 and records(both) == double


@pytest.mark.slow
def test_in_bf16_with_checkpointing_too(words: Words, tmp_path: Path) -> None:
    more = ("--dtype", "bf16", "--gradient-checkpointing")
    methods = ["full", "sparsegrad-planned", "sparsegrad-compact"]
    done = launched("torchrun", "eval.chat", words(tmp_path, *more, methods=methods))
    assert done.returncode == 0, done.stderr
    assert {record.status for record in records(tmp_path).values()} == {Status.OK}


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_everywhere_and_is_one_record(words: Words, tmp_path: Path) -> None:
    failed = launched("torchrun", "eval.chat", words(tmp_path, "--lr", 1e30, methods=["full"]))
    assert failed.returncode == 1 and "1 of 1 runs failed" in failed.stderr
    reason = records(tmp_path)["full"].reason
    assert reason is not None and reason.startswith("process ") and "lower --lr" in reason


def test_a_share_without_conversations_costs_nothing_and_has_a_gradient_of_zero() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig.from_dict({"vocab_size": 17, **sizes}))
    nll_B, count_B = reply_nll(model, batch_of([]))
    nll_B.sum().backward()
    assert (nll_B.tolist(), count_B.tolist()) == ([0.0], [0])
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())
