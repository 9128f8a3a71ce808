"""The request: what its words mean, and what is refused before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli import Parser, add_method_words, add_model_words, add_run_words, request_of
from bench.errors import BadRequest
from bench.request import ALWAYS, Request, check_kept, parse_kept, resolve_device
from bench.workload import Workload
from sparsegrad.errors import SparseGradError
from sparsegrad.methods import METHODS


def asked(folder: Path, *words: str) -> Request:
    parser = Parser(prog="bench.test", description="", example="")
    add_model_words(parser)
    add_method_words(parser)
    add_run_words(parser)
    tiny = ("--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu")
    return request_of(parser.parse_args([*tiny, "--calibration-steps", "2", *words]))


@pytest.fixture(scope="module")
def workload(folder: Path) -> Workload:
    return asked(folder).workload()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("22000", 22_000),
        ("22_000", 22_000),
        ("18k", 18_000),
        ("dense", 1.0),
        ("1", 1),
        ("0", 0),
        ("0.01", 0.01),
        ("1%", 0.01),
        ("1e-2", 0.01),
        ("1.0", 1.0),
    ],
)
def test_kept_is_a_count_or_a_share(text: str, kept: float) -> None:
    assert parse_kept(text) == kept
    assert type(parse_kept(text)) is type(kept), "1 entry is not every entry"


@pytest.mark.parametrize("text", ["", "lots", "%", "1%%", "1_", "_", "1,000", "²", "0x10", "1 %x", "k", "²k", "1.5k"])
def test_kept_that_is_no_number(text: str) -> None:
    with pytest.raises(BadRequest, match=r"--kept .*such as 22000 or a share such as 0\.01 or 1%"):
        parse_kept(text)


@pytest.mark.parametrize("text", ["513", "0", "-5", "0.0", "1.5", "200%", "nan", "inf", "1e3"])
def test_kept_outside_the_layer(text: str, folder: Path, workload: Workload) -> None:
    """The layers here hold 16 x 32 entries."""
    with pytest.raises(BadRequest, match=r"^--kept "):
        check_kept(asked(folder, f"--kept={text}"), workload.build(), workload)


@pytest.mark.parametrize("text", ["512", "1", "1.0", "100%", "0.0001"])
def test_kept_up_to_every_entry(text: str, folder: Path, workload: Workload) -> None:
    check_kept(asked(folder, "--kept", text), workload.build(), workload)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--core 17 8", r"core=\(17, 8\) does not fit .*output\.dense"),
        ("--core 8 33", r"core=\(8, 33\) does not fit"),
        ("--core 0 8", r"core=\(0, 8\) does not fit"),
        ("--core 8 -1", r"core=\(8, -1\) does not fit"),
        ("--core 2 2", r"kept=5 .*do not fit core=\(2, 2\), which has 4"),
        ("--core 8 8 --kept 65", r"kept=65 .*do not fit core=\(8, 8\), which has 64"),
    ],
)
def test_a_core_outside_the_layers_or_too_small(words: str, told: str, folder: Path, workload: Workload) -> None:
    """They are 32 x 16 and 16 x 32 (out, in): the smaller side of each counts. 1% of them is 5."""
    request = asked(folder, *words.split())
    with pytest.raises(
        BadRequest, match=rf"^--kept \S+ --core {words.split()[1]} {words.split()[2]}: .*{told}"
    ) as caught:
        check_kept(request, workload.build(), workload)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", ["--core 16 16", "--core 1 5", "--core 16 1", "--core 8 8 --kept 64"])
def test_a_core_up_to_the_smaller_sides(words: str, folder: Path, workload: Workload) -> None:
    check_kept(asked(folder, *words.split()), workload.build(), workload)


@pytest.mark.parametrize(
    "words", ["--core 8", "--core", "--core 8 x", "--core 8 2.5", "--core 8 8 8", "--fixed-basis x"]
)
def test_words_of_a_fixed_support_that_cannot_be_read(words: str, folder: Path) -> None:
    with pytest.raises(BadRequest, match=r"see python -m bench\.test --help$") as caught:
        asked(folder, *words.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ("--methods", "nope"),
        ("--lr", "0"),
        ("--lr", "-1"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--calibration-steps", "0"),
        ("--lora-rank", "0"),
        ("--lora-rank", "-1"),
        ("--dtype", "fp8"),
        ("--seed", "99999999999999999999"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_with_its_option(words: tuple[str, str], folder: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(folder, *words)
    assert words[0] in str(caught.value) and words[1] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert resolve_device("auto") == "cpu"
    for name in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(BadRequest, match=r"--device .*0 CUDA devices.*cpu or auto"):
            resolve_device(name)


@pytest.mark.parametrize("name", ["nonsense", "", "meta", "mps", "cuda:x", "cpu:-1", "CPU"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(BadRequest, match=r"--device .* not known; give auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_a_second_cpu_is_refused_in_its_own_words() -> None:
    with pytest.raises(BadRequest, match=r"--device cpu:3") as caught:
        resolve_device("cpu:3")
    assert "CUDA" not in str(caught.value)


def test_cuda_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == "cuda"
    assert [resolve_device(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    with pytest.raises(BadRequest):
        resolve_device("cuda:2")


def test_full_and_frozen_are_always_chosen_in_the_registrys_order(folder: Path) -> None:
    chosen = [method.name for method in asked(folder, "--methods", "sparsegrad-sd", "lora", "lora").chosen()]
    assert chosen == ["full", "lora", "sparsegrad-sd", "frozen"]
    assert [method.name for method in asked(folder).chosen()] == list(METHODS)
    assert [method.name for method in asked(folder, "--methods", "full").chosen()] == list(ALWAYS)


def test_the_default_needs_nothing_but_the_machine() -> None:
    parser = Parser(prog="bench.test", description="", example="")
    add_model_words(parser)
    add_method_words(parser)
    add_run_words(parser)
    default = request_of(parser.parse_args(["--device", "cpu"]))
    assert (default.model, default.random_weights, default.task) == ("minilm-l6", True, None)
    assert request_of(parser.parse_args(["--model", "minilm-l6", "--device", "cpu"])).random_weights is False


def test_the_config_is_json_and_leaves_out_what_it_is_told(folder: Path) -> None:
    request = asked(folder, "--lengths", "fixed:8", "--core", "8", "12")
    config = request.config()
    read = json.loads(json.dumps(config, allow_nan=False))
    assert read == {**config, "core": [8, 12]} and config["core"] == (8, 12)
    assert config["lengths"] == "fixed:8" and config["data_dir"] is None
    assert config.keys() - request.config("kept", "lr").keys() == {"kept", "lr"}


@pytest.mark.parametrize(
    "words",
    [
        ("--kept", "0.02"),
        ("--core", "8", "8"),
        ("--fixed-basis", "shared"),
        ("--lr", "0.5"),
        ("--seed", "1"),
        ("--dropout", "0.1"),
        ("--dtype", "bf16"),
        ("--trainable", "all"),
        ("--padding", "longest"),
        ("--lora-rank", "3"),
        ("--methods", "lora"),
        ("--lengths", "fixed:8"),
    ],
    ids=" ".join,
)
def test_every_word_shows_in_the_config(words: tuple[str, ...], folder: Path) -> None:
    """What is not in it is not in the key: two different runs would be taken for one."""
    assert asked(folder, *words).config() != asked(folder).config()


def test_the_same_request_in_another_order_is_the_same_config(folder: Path) -> None:
    """full and frozen are rows of every table, and rows stand in the registry's order: asked or not."""
    first = asked(folder, "--methods", "lora", "meprop").config()
    assert asked(folder, "--methods", "meprop", "lora").config() == first
    assert asked(folder, "--methods", "full", "meprop", "lora").config() == first


def test_settings_are_the_words(folder: Path, workload: Workload) -> None:
    settings = asked(folder, "--kept", "7", "--lr", "0.5", "--trainable", "all").settings(workload)
    assert (settings.kept, settings.lr, settings.trainable, settings.accumulate) == (7, 0.5, "all", False)
    assert settings.lora_rank == workload.lora_rank == 7
    assert asked(folder, "--lora-rank", "3").settings(workload).lora_rank == 3
    assert (settings.core, settings.fixed_basis, settings.seed) == (None, "per-block", 0)
    fixed = asked(folder, "--core", "8", "12", "--fixed-basis", "shared", "--seed", "3").settings(workload)
    assert (fixed.core, fixed.fixed_basis, fixed.seed) == ((8, 12), "shared", 3)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_fresh_model_is_in_the_dtype_asked_for(dtype: str, folder: Path, workload: Workload) -> None:
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model = asked(folder, "--dtype", dtype).fresh_model(workload)
    assert {p.dtype for p in model.parameters()} == {wanted}


@pytest.mark.parametrize("name", ["lora", "lora-fa", "shira"])
def test_preparing_twice_draws_the_same(name: str, folder: Path, workload: Workload) -> None:
    """LoRA's factors and SHiRA's places are random: equal in both, whatever was drawn in between."""
    request = asked(folder)

    def weights() -> list[Any]:
        torch.rand(3)
        prepared = request.prepare(METHODS[name], request.fresh_model(workload), workload, None)
        places = [indices for m in prepared.model.modules() for indices in getattr(m, "shira_indices", {}).values()]
        assert bool(places) == (name == "shira")
        return [*prepared.model.parameters(), *places]

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


@pytest.mark.parametrize("name", ["sparsegrad-sd", "sparsegrad-compact"])
def test_bases_are_for_those_who_ask(name: str, folder: Path, workload: Workload) -> None:
    request = asked(folder)
    with pytest.raises(SparseGradError, match="needs bases"):
        request.prepare(METHODS[name], request.fresh_model(workload), workload, None)
