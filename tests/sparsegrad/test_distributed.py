"""Two gloo processes give the single process's result at equal global batch, for every method that trains.

The processes run once for all tests; each writes what it came to, and the tests read that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import BertConfig, BertForSequenceClassification

from sparsegrad import Bases, SparseGradError, calibrate, clip_grad_norm_, data_parallel
from sparsegrad.linear import SparseGradLinear
from sparsegrad.methods import METHODS, Prepared, Settings
from sparsegrad.selection import selection_of
from tests.gloo import WORLD, in_two_processes

STEPS, ROWS = 4, 8
TRAINING = [name for name, method in METHODS.items() if method.trains]
DYNAMIC = ["meprop", "sparsegrad-regular", "sparsegrad-sd", "sparsegrad-planned"]
# Each backward of a step is a micro-batch of its own; under no_sync all but the last.
ACCUMULATED = "sparsegrad-planned, accumulated"


def model() -> nn.Module:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
    }
    off: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForSequenceClassification(BertConfig(vocab_size=50, max_position_embeddings=16, **sizes, **off)).double()


def batches() -> list[dict[str, Tensor]]:
    chance = torch.Generator().manual_seed(1)
    made = []
    for _ in range(STEPS):
        ids = torch.randint(2, 50, (ROWS, 7), generator=chance)
        real = torch.arange(7)[None] < torch.tensor([7, 3, 5, 6] * (ROWS // 4))[:, None]
        labels = torch.randint(0, 2, (ROWS,), generator=chance)
        made.append({"input_ids": ids * real, "attention_mask": real.long(), "labels": labels})
    return made


def prepared(name: str, bases: Bases | None = None) -> Prepared:
    method, settings = METHODS[name], Settings(kept=0.05, lr=1e-2, lora_rank=3)
    made = model()
    options = method.calibration(settings)
    if options is not None and bases is None:
        bases = calibrate(made, batches(), 2, **options)
    torch.manual_seed(1)
    return method.prepare(made, settings, bases)


def part(batch: dict[str, Tensor], at: int, of: int) -> dict[str, Tensor]:
    return {name: tensor.chunk(of)[at] for name, tensor in batch.items()}


def train(name: str, rank: int = 0, world: int = 1) -> dict[str, Any]:
    """Global losses and norms, the support of every step, and the weights reached."""
    method, _, accumulated = name.partition(", ")
    made = prepared(method)
    net: nn.Module = made.model
    if world > 1:
        net = DistributedDataParallel(data_parallel(made.model))
    told: dict[str, Any] = {"losses": [], "norms": [], "supports": []}
    assert made.optimizer is not None
    for batch in batches():
        made.optimizer.zero_grad()
        own = part(batch, rank, world)
        if accumulated and isinstance(net, DistributedDataParallel):
            with net.no_sync():
                (net(**part(own, 0, 2)).loss / 2).backward()
            (net(**part(own, 1, 2)).loss / 2).backward()
            loss = net(**own).loss.detach()
        else:
            loss = net(**own).loss
            loss.backward()
            loss = loss.detach().clone()
        if world > 1:
            torch.distributed.all_reduce(loss)
        weights = [p for p in made.model.parameters() if p.grad is not None and p.grad.is_sparse]
        told["supports"].append([p.grad.indices().clone() for p in weights if p.grad is not None])
        told["norms"].append(clip_grad_norm_(made.model.parameters(), 1.0).item())
        told["losses"].append(loss.item() / world)
        made.optimizer.step()
    return {**told, "weights": {name: tensor.detach().clone() for name, tensor in made.model.state_dict().items()}}


def refusal(rank: int) -> str:
    """Each process with bases of its own."""
    made = model()
    bases = calibrate(made, batches()[rank:], 1)
    try:
        data_parallel(prepared("sparsegrad-planned", bases).model)
    except SparseGradError as error:
        return str(error)
    return "not refused"


def worker(rank: int, folder: Path) -> None:
    told = {name: train(name, rank, WORLD) for name in [*TRAINING, ACCUMULATED]}
    torch.save({**told, "refusal": refusal(rank)}, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process came to."""
    folder = tmp_path_factory.mktemp("ranks")
    in_two_processes(worker, folder / "meeting", folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("name", [*TRAINING, ACCUMULATED])
def test_two_processes_are_one_at_equal_global_batch(ranks: list[dict[str, Any]], name: str) -> None:
    alone = train(name)
    assert alone["losses"][-1] != alone["losses"][0]
    for told in (rank[name] for rank in ranks):
        torch.testing.assert_close(told["losses"], alone["losses"], rtol=0, atol=1e-9)
        torch.testing.assert_close(told["norms"], alone["norms"], rtol=0, atol=1e-9)
        assert told["weights"].keys() == alone["weights"].keys()
        for key, weight in alone["weights"].items():
            torch.testing.assert_close(told["weights"][key], weight, rtol=0, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", [*DYNAMIC, ACCUMULATED])
def test_every_process_has_the_support_of_the_whole_batch(ranks: list[dict[str, Any]], name: str) -> None:
    alone = train(name)
    layers = sum(isinstance(module, SparseGradLinear) for module in prepared(name.partition(",")[0]).model.modules())
    for step, wanted in enumerate(alone["supports"]):
        assert len(wanted) == layers == 4
        for told in (rank[name]["supports"][step] for rank in ranks):
            assert all(torch.equal(a, b) for a, b in zip(told, wanted, strict=True))


def test_a_half_alone_would_choose_another_support() -> None:
    """So that the cases above are ones where the reduction made the difference."""
    made = prepared("sparsegrad-planned")
    supports = []
    for own in (batches()[0], part(batches()[0], 0, 2)):
        made.model.zero_grad()
        made.model(**own).loss.backward()
        supports.append([p.grad.indices() for p in made.model.parameters() if p.grad is not None and p.grad.is_sparse])
    assert not all(torch.equal(a, b) for a, b in zip(*supports, strict=True))


def test_processes_with_other_bases_are_refused(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert "process 1 has other bases" in rank["refusal"]


def test_alone_it_changes_nothing_and_lives_on_in_a_new_selection() -> None:
    made = data_parallel(prepared("sparsegrad-sd").model)
    made.load_state_dict({name: tensor.clone() for name, tensor in made.state_dict().items()}, assign=True)
    made(**batches()[0]).loss.backward()
    layers = [module for module in made.modules() if isinstance(module, SparseGradLinear)]
    for layer in layers:
        selection = selection_of(layer.weight)
        assert selection is not None and selection.averages
        assert layer.weight.grad is not None and layer.weight.grad._nnz() == layer.kept
