"""Two gloo processes train a compact model as one does at the same global batch: DDP, and FSDP's sharded parameters.

What they came to is one JSON object of rank 0.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from sparsegrad import SparseGradError, calibrate, convert
from sparsegrad.compact import CompactLinear
from tests.gloo import WORLD, in_two_processes

WIDTH, HIDDEN, STEPS = 8, 16, 5


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return SimpleNamespace(loss=(x - 1).square().mean())


def batches():
    chance = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(40, WIDTH, generator=chance)} for _ in range(STEPS)]


def compact(execution="planned"):
    model = Model()
    bases = calibrate(model, batches(), 2, kept=20, core=(6, 6))
    model.requires_grad_(False)
    return convert(model, bases, kept=20, core=(6, 6), support="fixed", execution=execution)


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def train(model, rank=0, world=1):
    """The losses' global means, the values reached, and how far any weight has moved."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for batch in batches():
        optimizer.zero_grad()
        loss = model(batch["x"].chunk(world)[rank]).loss
        loss.backward()
        optimizer.step()
        told = loss.detach().clone()
        if world > 1:
            torch.distributed.all_reduce(told)
        losses.append(told.item() / world)
    first = dict(compact("additive").named_parameters())
    named = {name.removeprefix("module."): whole(p.detach()) for name, p in model.named_parameters()}
    values = {name: p.tolist() for name, p in named.items() if name.endswith("values")}
    moved = max((p - first[name].detach()).abs().max().item() for name, p in named.items() if "values" not in name)
    return {"losses": losses, "values": values, "moved": moved}


def refusal(make):
    try:
        make()
    except SparseGradError as error:
        return str(error)
    return "not refused"


def worker(rank: int, before: nn.Module, told: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    answer = {
        "at convert": refusal(lambda: compact("merged")),
        "at forward": refusal(lambda: before(batches()[0]["x"])),
        "additive": train(nn.parallel.DistributedDataParallel(compact("additive")), rank, WORLD),
        "planned": train(nn.parallel.DistributedDataParallel(compact("planned")), rank, WORLD),
    }
    for execution in ("additive", "planned"):
        sharded = compact(execution)
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (WORLD,))
        for block in sharded.blocks:
            fully_shard(block, mesh=mesh)
        answer[f"sharded {execution}"] = train(fully_shard(sharded, mesh=mesh), rank, WORLD)
    if rank == 0:
        told.write_text(json.dumps(answer))


def test_two_processes_are_one_at_the_same_global_batch(tmp_path):
    in_two_processes(worker, tmp_path / "meeting", compact("merged"), tmp_path / "told.json")
    answer = json.loads((tmp_path / "told.json").read_text())
    for refused in (answer["at convert"], answer["at forward"]):
        assert "'merged'" in refused and "processes" in refused and "'additive'" in refused
    alone = train(compact("additive"))
    assert alone["losses"][-1] < 0.9 * alone["losses"][0]
    for execution in ("additive", "planned", "sharded additive", "sharded planned"):
        trained = answer[execution]
        torch.testing.assert_close(trained["losses"], alone["losses"], rtol=1e-5, atol=1e-6)
        assert trained["values"].keys() == alone["values"].keys() and len(trained["values"]) == 6
        for name, values in trained["values"].items():
            torch.testing.assert_close(values, alone["values"][name], rtol=1e-4, atol=1e-5)
        # Nothing was written into a weight that other ranks do not see.
        assert trained["moved"] == 0


def test_alone_planned_writes_that_model():
    """So that the case above is one where the processes made the difference."""
    model = compact("planned")
    assert train(model)["moved"] > 0
    assert all(isinstance(block.up, CompactLinear) for block in model.blocks)
