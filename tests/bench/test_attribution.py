"""What a step's memory consists of, against sizes known by hand; and that looking changes nothing."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attribution import CATEGORIES, Attribution, leak_bytes_per_step
from bench.cells import measure_calibration
from bench.cli import request_of
from bench.footprint import footprint
from bench.peak import TrackedPeak
from bench.request import Request
from bench.speed import parser
from bench.train import train_step
from sparsegrad import Bases
from sparsegrad.methods import METHODS, Prepared
from sparsegrad.optim import SparseGradOptimizer

F32, I64 = 4, 8
T, IN, MID, OUT = 24, 20, 40, 12


class TwoLinears(nn.Module):
    """loss = sum of a trained linear of a frozen one: nothing is saved for backward but what lies between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(IN, MID, bias=False).requires_grad_(False)
        self.second = nn.Linear(MID, OUT, bias=False)
        self.leak: list[Tensor] | None = None

    def forward(self, x: Tensor) -> SimpleNamespace:
        h = self.first(x)
        if self.leak is not None:
            self.leak.append(h)
        return SimpleNamespace(loss=self.second(h).sum())


def prepared(model: nn.Module) -> Prepared:
    optimizer = SparseGradOptimizer([p for p in model.parameters() if p.requires_grad], lr=0.1)
    counts = {"trainable_parameters": 0, "updated_parameters": 0, "adapter_bytes": 0}
    return Prepared(model=model, optimizer=optimizer, **counts)


def told(model: nn.Module, steps: int = 3) -> dict[str, Any]:
    return footprint(prepared(model), {"x": torch.randn(T, IN)}, steps)


def test_a_step_of_two_linears_by_hand() -> None:
    """At the highest point of the backward dW2 has been made of h and dL/dy, an expanded view of dL/dloss."""
    read = told(TwoLinears())
    w1, w2, state = MID * IN, OUT * MID, 2 * OUT * MID + 1
    assert read["by_phase_category_bytes"]["backward"] == {
        "weights": F32 * (w1 + w2),
        "bases": 0,
        "optimizer_state": F32 * state,
        "gradients": F32 * w2,
        "batch": F32 * T * IN,
        "saved_for_backward": F32 * T * MID,  # h
        "temporaries": F32 * 3,  # the loss, the last step's and dL/dloss
    }
    assert read["saved_for_backward_bytes"] == F32 * T * MID
    assert read["saved_by_role"] == [{"role": "second", "bytes": F32 * T * MID}]
    layers = {row["layer"]: row["by_category_bytes"] for row in read["at_peak"]["by_layer"]}
    assert layers["first"] == {"weights": F32 * w1}, "frozen: no gradient, no state"
    assert layers["second"]["optimizer_state"] == F32 * state
    assert layers["(batch)"] == {"batch": F32 * T * IN}


def test_a_planted_leak_is_found_and_a_sound_step_has_none() -> None:
    model = TwoLinears()
    assert told(model, 4)["leak_bytes_per_step"] == 0
    model.leak = []
    assert told(model, 4)["leak_bytes_per_step"] == T * MID * F32


def test_a_leak_takes_three_steps_to_see() -> None:
    assert leak_bytes_per_step([5, 9]) is None
    assert leak_bytes_per_step([5, 9, 12]) == 3
    assert leak_bytes_per_step([5, 9, 10, 9, 11]) == pytest.approx(2 / 3)


def test_a_gradient_that_is_coo_counts_its_indices_and_values() -> None:
    """Hung on the parameter by hand: the optimizer's phase begins with it."""
    model, k = TwoLinears(), 6
    places = torch.stack((torch.zeros(k, dtype=torch.int64), torch.arange(k)))
    gradient = torch.sparse_coo_tensor(places, torch.ones(k), (OUT, MID), is_coalesced=True, check_invariants=False)
    what = Attribution(prepared(model), {"x": torch.randn(T, IN)})
    with what:
        what.mark("start")
        what.mark("forward")
        model.second.weight.grad = gradient
        what.mark("backward")
    assert what.told()["by_phase_category_bytes"]["backward"]["gradients"] == k * (F32 + 2 * I64)


def stored(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages that these lie in, each once and whole."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.fixture(scope="module")
def request_(folder: Path) -> Request:
    words = ["--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu"]
    return request_of(parser().parse_args([*words, "--calibration-steps", "2", "--kept", "5"]))


@pytest.mark.parametrize("name", METHODS)
def test_categories_of_each_method(name: str, request_: Request, tmp_path: Path) -> None:
    """They sum to the peak, the plain instrument's to the byte; bases and gradients are the model's."""
    workload, path = request_.workload(), tmp_path / "bases.safetensors"
    if METHODS[name].calibration(request_.settings(workload)) is not None:
        measure_calibration(request_, name, path)

    def fresh() -> Prepared:
        bases = Bases.load(path) if path.is_file() else None
        return request_.prepare(METHODS[name], request_.fresh_model(workload), workload, bases)

    batch, plain, made = workload.batches[0], TrackedPeak(), fresh()
    with plain:
        plain.watch([*made.model.parameters(), *made.model.buffers(), *batch.values()])
        for _ in range(3):
            loss = train_step(made, batch, plain)  # the last one's lives until the next is made, as in footprint
    assert loss.isfinite()
    made = fresh()
    read = footprint(made, batch, 3)
    assert read["by_phase_bytes"] == plain.read().by_phase_bytes
    for phase, alive in read["by_phase_category_bytes"].items():
        assert alive.keys() == CATEGORIES.keys()
        assert sum(alive.values()) == read["by_phase_bytes"][phase]
    for word in ("layer", "role"):
        rows = read["at_peak"][f"by_{word}"]
        assert sum(row["bytes"] for row in rows) == read["peak_bytes"]
        assert all(row["bytes"] == sum(row["by_category_bytes"].values()) for row in rows)
    assert read["leak_bytes_per_step"] == 0
    step = read["by_phase_category_bytes"]["optimizer"]
    bases = [buffer for name, buffer in made.model.named_buffers() if name.endswith((".u", ".v"))]
    assert step["bases"] == stored(bases)
    train_step(made, batch, gradients := Gradients(made.model))
    assert step["gradients"] == gradients.nbytes
    assert (step["optimizer_state"] > 0) == METHODS[name].trains
    assert step["saved_for_backward"] == 0 and step["batch"] == stored(batch.values())


class Gradients:
    """A probe: the bytes of all gradients when the backward is done."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.nbytes = model, 0

    def mark(self, phase: str) -> None:
        if phase == "backward":
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            self.nbytes = stored(part for g in grads for part in ((g._indices(), g._values()) if g.is_sparse else (g,)))


def test_bases_that_blocks_share_belong_to_no_one_block(request_: Request, tmp_path: Path) -> None:
    workload, path = request_.workload(), tmp_path / "bases.safetensors"
    measure_calibration(request_, "sparsegrad-regular", path)
    model = request_.fresh_model(workload)
    made = request_.prepare(METHODS["sparsegrad-regular"], model, workload, Bases.load(path))
    layers = {
        row["layer"]: row["by_category_bytes"] for row in footprint(made, workload.batches[0], 2)["at_peak"]["by_layer"]
    }
    assert layers["bert.encoder.layer.*"] == {"bases": 2 * (16 * 16 + 32 * 32) * F32}
    assert "bases" not in layers["bert.encoder.layer.0"]
