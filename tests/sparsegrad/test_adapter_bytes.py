"""What a method says has to be kept of the tuned linears, held against the file that its own save writes."""

import json
import math

import pytest
import torch

import sparsegrad
from sparsegrad import CompactLinear, calibrate
from sparsegrad.methods import METHODS, Settings, method_named

KEPT, RANK, WIDTH, HIDDEN, BLOCKS, FP32 = 13, 3, 16, 40, 4, 4
LINEARS = 2 * BLOCKS
WIDTHS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "U8": 1}


def prepared(name, arch, *, dtype=torch.float32, **given):
    model, method = arch.model(dtype=dtype), method_named(name)
    settings = Settings(**{"kept": KEPT, "lora_rank": RANK, "lr": 1e-2, **given})
    options = method.calibration(settings)
    bases = None if options is None else calibrate(model, arch.batches(2), 2, **options)
    return method.prepare(model, settings, bases)


def step(ready, batch):
    ready.model(**batch).loss.backward()
    ready.optimizer.step()
    ready.optimizer.zero_grad()


def tensors_in(path):
    """Tensor name -> its bytes in a safetensors file, read off the format itself; header and data are the whole."""
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    told = {name: entry for name, entry in json.loads(raw[8:begin]).items() if name != "__metadata__"}
    sizes = {name: math.prod(entry["shape"]) * WIDTHS[entry["dtype"]] for name, entry in told.items()}
    assert sum(sizes.values()) == len(raw) - begin
    return sizes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["lora", "lora-fa", "shira"])
def test_of_a_rival_it_is_pefts_own_file(name, dtype, bert, tmp_path):
    ready = prepared(name, bert, dtype=dtype)
    ready.model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert ready.adapter_bytes == sum(tensors_in(tmp_path / "adapter_model.safetensors").values())


@pytest.mark.parametrize("given", [{}, {"core": (5, 9)}, {"kept": 640}], ids=str)
def test_of_compact_it_is_the_adapter_file_but_header_and_head(given, bert, tmp_path):
    ready = prepared("sparsegrad-compact", bert, **given)
    step(ready, bert.batch())
    sizes = tensors_in(sparsegrad.save(ready.model, tmp_path))
    head = {name: size for name, size in sizes.items() if name.startswith("state/")}
    assert set(head) == {"state/classifier.weight", "state/classifier.bias"}
    assert ready.adapter_bytes == sum(sizes.values()) - sum(head.values())
    # By hand: k values in fp32 and k places in int32 a linear, and each pair of slices.
    layers = [m for m in ready.model.modules() if isinstance(m, CompactLinear)]
    slices = sum(FP32 * (rows * m.out_features + cols * m.in_features) for m in layers for rows, cols in [m.core_shape])
    assert ready.adapter_bytes == sum((FP32 + 4) * len(m.values) for m in layers) + slices


def test_slices_that_blocks_share_are_kept_once(bert, tmp_path):
    model = bert.model().requires_grad_(False)
    bases = calibrate(model, bert.batches(2), 2, kept=KEPT)
    sparsegrad.convert(model, bases, kept=KEPT, support="fixed")
    kept = sum(tensor.nbytes for tensor in METHODS["sparsegrad-compact"].file(model))
    assert kept == sum(tensors_in(sparsegrad.save(model, tmp_path)).values())
    rows, cols = 16, 32  # of the default core, 32 x 32, clipped to each role's (out, in)
    up, down = 32 * HIDDEN + rows * WIDTH, rows * WIDTH + cols * HIDDEN
    assert kept == LINEARS * KEPT * 2 * FP32 + FP32 * (up + down)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("trainable", ["mlp", "all"])
def test_it_is_of_the_tuned_linears_whatever_else_trains(name, trainable, bert):
    """A trained W whole, with its bias: what changed of it cannot be told without it."""
    dense = FP32 * (LINEARS * WIDTH * HIDDEN + BLOCKS * (WIDTH + HIDDEN))
    low_rank = FP32 * LINEARS * RANK * (WIDTH + HIDDEN)
    expected: int | None = {
        "lora": low_rank,
        "lora-fa": low_rank,
        "shira": 3 * low_rank,  # an entry is its value and two int32 indices
        "sparsegrad-compact": None,
        "frozen": 0,
        "frozen-drop": 0,
    }.get(name, dense)
    ready = prepared(name, bert, trainable=trainable)
    if expected is not None:
        assert ready.adapter_bytes == expected
    else:
        assert ready.adapter_bytes == prepared(name, bert, trainable="mlp").adapter_bytes
