"""Bases travel in one safetensors file; one that is damaged, foreign or of another model is told."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sparsegrad import Bases, BasesMismatch, calibrate, convert
from sparsegrad.bases import read_safetensors, write_safetensors


@pytest.fixture
def bases(bert):
    return calibrate(bert.model(), bert.batches(2), 2, model_name="tiny", data_name="noise")


@pytest.mark.parametrize("basis", ["shared", "per-block", "none"])
@pytest.mark.parametrize("sides", ["both", "in", "out"])
def test_what_is_read_is_what_was_written(bert, tmp_path, basis, sides):
    made = calibrate(bert.model(), bert.batches(2), 2, basis=basis, sides=sides)
    path = made.save(tmp_path / "new" / "bases.safetensors")
    read = Bases.load(path)
    assert (read.kind, read.fingerprint, dict(read.layers)) == (made.kind, made.fingerprint, dict(made.layers))
    assert dict(read.header) == dict(made.header) and set(read.table) == set(made.table)
    for key, basis_made in made.table.items():
        for name, tensor in vars(basis_made).items():
            again = getattr(read.table[key], name)
            assert (tensor is None and again is None) or torch.equal(tensor, again)
    assert [p.name for p in path.parent.iterdir()] == ["bases.safetensors"]
    convert(bert.model(), read)


@pytest.mark.parametrize("basis", ["shared", "per-block"])
@pytest.mark.parametrize("options", [{"kept": 7}, {"core": (5, 9)}], ids=str)
def test_energies_and_leading_rows_travel_too(bert, tmp_path, basis, options):
    """A fixed support is chosen from what was read as from what was made; a dynamic one has too few vectors."""
    made = calibrate(bert.model(), bert.batches(2), 2, basis=basis, **options)
    read = Bases.load(made.save(tmp_path / "b"))
    assert set(read.energies) == set(made.energies) == set(made.layers)
    assert all(torch.equal(read.energies[name], energy) for name, energy in made.energies.items())
    pair = [convert(bert.model(), bases, support="fixed", **{"kept": 7, **options}) for bases in (made, read)]
    first, second = (model.state_dict() for model in pair)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(BasesMismatch, match=r"holds its leading .* support='fixed'"):
        convert(bert.model(), read, kept=7)


def test_the_file_tells_model_data_and_settings_to_any_reader(bases, tmp_path):
    with safe_open(bases.save(tmp_path / "b"), framework="pt") as file:
        told = json.loads(file.metadata()["sparsegrad"])["bases"]
    assert told["header"].items() >= {"model": "tiny", "data": "noise", "steps": 2}.items()
    assert told["layers"]["bert.encoder.layer.0.intermediate.dense"] == ["intermediate.dense", [40, 16]]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BasesMismatch, match="no file"):
        Bases.load(tmp_path / "none")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_told(bases, tmp_path, keep):
    path = bases.save(tmp_path / "b")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BasesMismatch, match="not written by sparsegrad, or is damaged"):
        Bases.load(path)


@pytest.mark.parametrize("at", [-1, -1000, "header"])
def test_a_flipped_bit_is_told(bases, tmp_path, at):
    """Of a tensor, or of the header, wherever it still reads as one."""
    path = bases.save(tmp_path / "b")
    whole = bytearray(path.read_bytes())
    whole[at if isinstance(at, int) else whole.index(b"noise")] ^= 1
    path.write_bytes(whole)
    with pytest.raises(BasesMismatch, match="is damaged: it does not hold what was written"):
        Bases.load(path)


def test_any_tensor_can_be_written_and_files_without_a_digest_are_read(tmp_path):
    tensors = {"half": torch.ones(2, 3, dtype=torch.bfloat16), "one": torch.tensor(True), "none": torch.empty(0, 4)}
    tensors["turned"] = torch.arange(6.0).reshape(2, 3).T
    read, header = read_safetensors(write_safetensors(tmp_path / "b", tensors, {"half": [0.1, None]}))
    assert header == {"half": [0.1, None]} and all(torch.equal(read[name], tensors[name]) for name in tensors)
    save_file({"a": torch.ones(2)}, tmp_path / "old", {"sparsegrad": '{"layers": {}}'})
    assert read_safetensors(tmp_path / "old")[1] == {"layers": {}}


def test_foreign_files_are_told(bases, tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "plain")
    save_file({"a": torch.ones(2)}, tmp_path / "list", {"sparsegrad": "[1]"})
    save_file({"a": torch.ones(2)}, tmp_path / "text", {"sparsegrad": "{"})
    save_file({"a": torch.ones(2)}, tmp_path / "other", {"sparsegrad": '{"layers": {}}'})
    save_file({"a": torch.ones(2)}, tmp_path / "later", {"sparsegrad": '{"bases": {"format": 99}}'})
    save_file({"a": torch.ones(2)}, tmp_path / "first", {"sparsegrad": '{"bases": {"format": 1}}'})
    (tmp_path / "folder").mkdir()
    for name in ("plain", "list", "text", "other", "later", "first", "folder"):
        with pytest.raises(BasesMismatch, match=name):
            Bases.load(tmp_path / name)
    with pytest.raises(BasesMismatch, match="bases of format 1, this version reads 2"):
        Bases.load(tmp_path / "first")


@pytest.mark.parametrize("lacks", ["output.dense/", "energy/bert.encoder.layer.3.output.dense"])
def test_a_file_that_lacks_a_tensor_it_names_is_told(bert, tmp_path, lacks):
    """Read as 'not rotated', it would train in the original space and say nothing."""
    tensors, header = calibrate(bert.model(), bert.batches(2), 2, kept=7).to_tensors()
    left = {name: tensor.contiguous() for name, tensor in tensors.items() if not name.startswith(lacks)}
    assert len(left) < len(tensors)
    save_file(left, tmp_path / "b", {"sparsegrad": json.dumps(header)})
    with pytest.raises(BasesMismatch, match=r"output\.dense"):
        Bases.load(tmp_path / "b")


def test_an_interrupted_write_leaves_the_old_file(bases, tmp_path, monkeypatch):
    path = bases.save(tmp_path / "b")
    old = path.read_bytes()

    def killed(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        bases.save(path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_the_fingerprint_knows_the_weights_not_their_precision(bert):
    fingerprints = {
        dtype: Bases.none(bert.model().to(dtype)).fingerprint
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    }
    assert len(set(fingerprints.values())) == 1
    assert Bases.none(bert.model(seed=1)).fingerprint not in fingerprints.values()


def test_bases_of_another_model_are_told(bases, architectures, bert):
    for other, told in (
        (bert.model(seed=1), "calibrated on other weights.*tiny"),
        (architectures["llama"].model(), "want a linear.*LlamaForCausalLM has not"),
    ):
        before = {name: type(m) for name, m in other.named_modules()}
        with pytest.raises(BasesMismatch, match=told):
            convert(other, bases)
        assert {name: type(m) for name, m in other.named_modules()} == before
