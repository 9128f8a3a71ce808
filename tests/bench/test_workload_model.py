"""The workload's model: the same weights each time, the file's where there is one, silently, dropout as asked."""

import logging
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

import bench.hub
from bench.errors import BadRequest
from tests.bench.small_models import CAUSAL, TINY, equal_states, make


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("random_weights", [True, False])
def test_every_model_builds_the_same_twice_and_learns(
    tiny: Callable[[str], Path], kind: str, random_weights: bool
) -> None:
    work = make(model=str(tiny(kind)), random_weights=random_weights)
    generator_before = torch.get_rng_state()
    first: Any = work.build()
    second = pickle.loads(pickle.dumps(work.build))()
    assert torch.equal(torch.get_rng_state(), generator_before)
    assert first is not second and equal_states(first, second)
    assert first.training and first.config._attn_implementation == "sdpa"
    assert {(p.dtype, p.device.type) for p in first.parameters()} == {(torch.float32, "cpu")}
    loss = first(**work.batches[0]).loss
    loss.backward()
    assert loss.isfinite() and not equal_states(first, make(model=str(tiny(kind)), random_weights=True, seed=1).build())
    saved = AutoConfig.from_pretrained(str(tiny(kind)))
    assert (work.description["head"] == "causal") == (kind in CAUSAL) == (saved.model_type in CAUSAL)


def test_pretrained_weights_are_the_files(tiny: Callable[[str], Path]) -> None:
    folder = tiny("llama")
    module = make(model=str(folder)).build()
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.equal(module.get_parameter(name), tensor)


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_dropout_is_set_everywhere(tiny: Callable[[str], Path], kind: str, dropout: float) -> None:
    work = make(model=str(tiny(kind)), random_weights=True, dropout=dropout)
    module: Any = work.build()
    rates = {m.p for m in module.modules() if isinstance(m, torch.nn.Dropout)}
    # Attention under sdpa has no module of its own: its probability is an attribute or the config's.
    names = {n: v for n, v in module.config.to_dict().items() if "dropout" in n or "pdrop" in n}
    assert rates <= {dropout}
    assert names and set(names.values()) - {True, False} <= {dropout}
    if dropout == 0:
        once, again = (module(**work.batches[0]).loss for _ in range(2))
        assert torch.equal(once, again)


@pytest.mark.parametrize("kind", TINY)
def test_a_step_is_silent(tiny: Callable[[str], Path], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers warns once a process: whatever it has said before."""
    work, said = make(model=str(tiny(kind)), random_weights=True), []
    monkeypatch.setattr(
        logging.getLogger("transformers").__class__, "warning_once", lambda _self, *told: said.append(told)
    )
    model: Any = work.build()
    model(**work.batches[0]).loss.backward()
    assert said == []


def test_loading_is_silent_and_restores(
    tiny: Callable[[str], Path], texts: Path, minilm_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filters, disabled = list(warnings.filters), logging.root.manager.disable
    levels = {name: logging.getLogger(name).level for name in ("transformers", "huggingface_hub")}
    make(model=str(minilm_folder), task="cola", data_dir=texts).build()
    assert capfd.readouterr() == ("", "")
    assert (list(warnings.filters), logging.root.manager.disable) == (filters, disabled)
    assert levels == {name: logging.getLogger(name).level for name in levels}


def test_the_hub_is_asked_once_and_its_refusal_is_told(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    folder = tmp_path / "snapshot"
    shutil.copytree(tiny("bert"), folder)
    (folder / "model.safetensors").unlink()

    def download(repo_id: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        if repo_id == "some/private":
            raise OSError("401 Client Error.\nCannot access gated repo")
        if "pytorch_model*.bin" in allow_patterns:
            torch.save(load_file(tiny("bert") / "model.safetensors"), folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo_id, name: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(bench.hub, "reachable", lambda: True)
    work = make(model="some/model")
    assert work.name == "some/model/synthetic" and len(asked) == 2
    assert equal_states(work.build(), make(model=str(tiny("bert"))).build())
    with pytest.raises(BadRequest, match=r"cannot load 'some/private': OSError: 401 Client Error\.; give --model"):
        make(model="some/private")


def test_what_is_cached_needs_no_hub(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cached = {"config.json": str(tiny("bert") / "config.json")}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo_id, name: cached.get(name))
    monkeypatch.setattr(bench.hub, "reachable", lambda: pytest.fail("the hub was asked"))
    assert equal_states(make(model="some/model").build(), make(model=str(tiny("bert"))).build())
