"""The share of the gradient that a method keeps, against a dense rotation and a plain sort in double precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.cli import Parser, add_method_words, add_model_words, add_run_words, request_of
from bench.request import Request
from bench.sparsity.energy import measure_energy
from bench.workload import Workload
from sparsegrad import Bases, calibrate
from sparsegrad.core import default_core
from sparsegrad.methods import METHODS
from sparsegrad.roles import find_targets

KEPT = 40


@pytest.fixture(scope="module")
def request_(folder: Path) -> Request:
    parser = Parser(prog="bench.test", description="", example="")
    add_model_words(parser)
    add_method_words(parser)
    add_run_words(parser)
    words = f"--model {folder} --random-weights --batch-size 4 --max-length 16 --kept {KEPT} --device cpu"
    return request_of(parser.parse_args([*words.split(), "--calibration-steps", "3"]))


@pytest.fixture(scope="module")
def workload(request_: Request) -> Workload:
    return request_.workload()


def bases_of(request: Request, workload: Workload, method: str, folder: Path) -> Path | None:
    options = METHODS[method].calibration(request.settings(workload))
    if options is None:
        return None
    path = folder / f"{method}.safetensors"
    calibrate(workload.build(), workload.calibration_batches, request.calibration_steps, **options).save(path)
    return path


def gradients(workload: Workload, batches: int) -> dict[str, list[Tensor]]:
    """The dense gradient of every linear in each of the first batches, double precision."""
    model = workload.build().double().eval()
    found = find_targets(model)
    told: dict[str, list[Tensor]] = {target.name: [] for target in found}
    for batch in workload.batches[:batches]:
        model.zero_grad()
        model(**batch).loss.backward()
        for target in found:
            assert target.weight.grad is not None
            told[target.name].append(target.weight.grad.clone())
    return told


@pytest.mark.parametrize("method", ["meprop", "sparsegrad-regular", "sparsegrad-sd", "sparsegrad-planned"])
def test_a_dynamic_support_keeps_the_largest_of_the_rotated_gradient(
    method: str, request_: Request, workload: Workload, tmp_path: Path
) -> None:
    path = bases_of(request_, workload, method, tmp_path)
    told = measure_energy(request_, method, path)
    dense = gradients(workload, told["batches"])
    table = {} if path is None else Bases.load(path).table
    for layer in told["layers"]:
        shares, rows, cols = [], [], []
        for g_OI in dense[layer["layer"]]:
            if table:
                basis = table[next(t.role for t in find_targets(workload.build()) if t.name == layer["layer"])]
                assert basis.u is not None and basis.v is not None
                g_OI = basis.v @ g_OI @ basis.u.T
            order = g_OI.square().flatten().argsort(descending=True)[:KEPT]
            shares.append(float(g_OI.square().flatten()[order].sum() / g_OI.square().sum()))
            rows.append(len((order // g_OI.shape[1]).unique()))
            cols.append(len((order % g_OI.shape[1]).unique()))
        count = len(shares)
        assert layer["kept_entries"] == KEPT
        assert layer["energy_share"] == pytest.approx(sum(shares) / count, rel=1e-4)
        # Single precision may swap two equal entries at the edge.
        assert layer["rows_touched"] == pytest.approx(sum(rows) / count, abs=1)
        assert layer["columns_touched"] == pytest.approx(sum(cols) / count, abs=1)
    energies = [layer["energy_share"] for layer in told["layers"]]
    assert told["energy_share"]["least"] == min(energies) and told["energy_share"]["most"] == max(energies)
    assert told["kept_share"] == pytest.approx(KEPT / (16 * 32))


def test_a_fixed_support_keeps_its_places(request_: Request, workload: Workload, tmp_path: Path) -> None:
    """The places that calibration chose, of gradients that it has not seen."""
    method = "sparsegrad-compact"
    path = bases_of(request_, workload, method, tmp_path)
    assert path is not None
    told, bases = measure_energy(request_, method, path), Bases.load(path)
    dense = gradients(workload, told["batches"])
    for layer in told["layers"]:
        name = layer["layer"]
        basis, energy = bases.table[name], bases.energies[name]
        assert basis.u is not None and basis.v is not None
        assert energy.shape == default_core(KEPT, layer["rows"], layer["columns"])
        places = energy.flatten().argsort(descending=True)[:KEPT]
        shares = [
            float((basis.v @ g_OI @ basis.u.T).flatten()[places].square().sum() / g_OI.square().sum())
            for g_OI in dense[name]
        ]
        assert layer["energy_share"] == pytest.approx(sum(shares) / len(shares), rel=1e-3)
        assert layer["rows_touched"] == len((places // energy.shape[1]).unique())
        assert layer["columns_touched"] == len((places % energy.shape[1]).unique())


@pytest.mark.parametrize("method", ["meprop", "sparsegrad-sd", "sparsegrad-planned", "sparsegrad-compact"])
def test_every_entry_keeps_everything_and_more_keeps_more(
    method: str, request_: Request, workload: Workload, tmp_path: Path
) -> None:
    shares = []
    for kept in (5, 50, 200, 1.0):
        request = replace(request_, kept=kept)
        path = bases_of(request, workload, method, tmp_path)
        shares.append(measure_energy(request, method, path)["energy_share"]["mean"])
    assert shares == sorted(shares) and shares[0] < shares[-1] == pytest.approx(1.0, abs=1e-5)


def test_the_readings_leave_dropout_out(request_: Request, workload: Workload, tmp_path: Path) -> None:
    path = bases_of(request_, workload, "sparsegrad-sd", tmp_path)
    quiet, noisy = (measure_energy(replace(request_, dropout=p), "sparsegrad-sd", path) for p in (0.0, 0.5))
    torch.testing.assert_close(quiet["layers"][0]["energy_share"], noisy["layers"][0]["energy_share"])
