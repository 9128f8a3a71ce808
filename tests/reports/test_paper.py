"""Laws of what is counted and logged: the counts are the models' own, the authors' logs are compared pair by pair."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.errors import BadRequest
from bench.presets import PRESETS
from reports.document import Verdict
from reports.paper.authors import Logs, read_logs
from reports.paper.logs_ledger import ledger_of_logs
from reports.paper.published import TASKS
from reports.paper.sizes import count_blocks, tuned_matrices

HEAD = "model,task,method,seed,metric,value,peak_mem_mib\n"


@pytest.mark.parametrize("name", ["bert-base", "roberta-base", "minilm-l6", "llama-2-7b"])
def test_counts_are_those_of_the_model_itself(name: str) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    preset = PRESETS[name]
    auto = AutoModelForCausalLM if preset.model_type == "llama" else AutoModel
    with torch.device("meta"):
        model = auto.from_config(preset.config())
    counted = dict.fromkeys(("embeddings", "attention", "MLP", "other"), 0)
    for place, parameter in model.named_parameters():
        counted[_block(place)] += parameter.numel()
    assert count_blocks(preset) == {**counted, "full": sum(counted.values())}


def _block(place: str) -> str:
    """BERT's and LLaMA's own names; norms beside the blocks are other."""
    norm = "norm" in place.lower()
    if "embed" in place or "lm_head" in place:
        return "embeddings"
    if norm or "pooler" in place:
        return "other"
    return "attention" if "attention" in place or "self_attn" in place else "MLP"


def test_llamas_matrices_are_every_third_blocks() -> None:
    assert tuned_matrices(PRESETS["llama-2-7b"]) == [4096 * 11008] * 22


def logged(tmp_path: Path, scores: dict[str, float], peaks: dict[str, float], *, model: str = "roberta-base") -> Logs:
    """Three seeds on every task; a seed moves all methods alike, so that only pairing sees through it."""
    lines = [
        f"{model},{task},{method},{seed},accuracy,{score + shift},{peaks[method] + place}"
        for method, score in scores.items()
        for place, task in enumerate(TASKS)
        for seed, shift in ((1, -0.05), (2, 0.0), (3, 0.05001))
    ]
    path = tmp_path / "logs.csv"
    path.write_text(HEAD + "\n".join(lines) + "\nunknown-model,cola,ft,1,accuracy,0.1,5\n")
    return read_logs(path)


def test_a_difference_is_paired_by_seed(tmp_path: Path) -> None:
    logs = logged(tmp_path, {"ft": 0.80, "lora": 0.81, "sparse": 0.83}, {"ft": 1000, "lora": 700, "sparse": 1100})
    found = logs.difference("roberta-base", "sparse", "lora")
    assert found.mean == pytest.approx(2.0)
    assert found.tasks == TASKS
    assert found.high - found.low < 0.1  # the seeds' own shifts, of five points, are gone
    assert logs.average("roberta-base", "ft") == pytest.approx(80.0, abs=0.01)
    told = {claim.id: claim for claim in ledger_of_logs(logs).claims}
    assert told["L-C11-roberta-base"].verdict is Verdict.REPRODUCED
    assert told["L-C9-lora-roberta-base"].verdict is Verdict.REPRODUCED
    assert told["L-C9-sparsegrad-roberta-base"].verdict is Verdict.NOT_REPRODUCED
    assert "L-C12-bert-base" not in told


def test_two_metrics_of_a_task_count_with_their_mean(tmp_path: Path) -> None:
    path = tmp_path / "logs.csv"
    path.write_text(HEAD + "roberta-base,mrpc,ft,1,f1,0.9,1\nroberta-base,mrpc,ft,1,accuracy,0.8,1\n")
    assert read_logs(path).scores["roberta-base", "mrpc", "ft"] == {1: pytest.approx(85.0)}


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", HEAD, HEAD + "roberta-base,cola,ft,1,mcc,nan,5\n", HEAD + "roberta-base,cola,ft,x,mcc,0.5,5\n"],
)
def test_a_file_that_is_no_log_is_a_wrong_request(tmp_path: Path, text: str) -> None:
    path = tmp_path / "logs.csv"
    path.write_text(text)
    with pytest.raises(BadRequest, match=r"logs\.csv"):
        read_logs(path)


def test_the_authors_own_logs_have_the_means_that_were_read_from_them(shared_data: Path) -> None:
    path = shared_data.parent / "paper" / "authors_runs.csv"
    if not path.is_file():
        pytest.skip("the authors' logs are not at hand")
    logs = read_logs(path)
    told = {(model, method): logs.average(model, method) for model in ("bert-base", "roberta-base") for method in
            ("ft", "lora", "sparse")}  # fmt: skip
    expected = [82.0, 82.3, 81.7, 83.0, 82.4, 82.8]
    assert [value and round(value, 1) for value in told.values()] == pytest.approx(expected, abs=0.11)
    verdicts = {claim.id: claim.verdict for claim in ledger_of_logs(logs).claims}
    assert verdicts["L-C11-bert-base"] is Verdict.WITHIN_NOISE
    assert verdicts["L-C9-sparsegrad-bert-base"] is Verdict.NOT_REPRODUCED
