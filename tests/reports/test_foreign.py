"""Laws of imports: each format is told by its content, what was not told is n/a, damage is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from reports.document import CellStatus, Table
from reports.foreign.peft import ExperimentRow
from reports.foreign.recognise import foreign_section, read_foreign
from reports.paper.authors import Logs

EXPERIMENT: dict[str, Any] = {
    "run_info": {
        "experiment_name": "lora/llama-rank32",
        "train_config": {"model_id": "meta-llama/Llama-3.2-3B"},
        "peft_config": {"peft_type": "LORA", "r": 32},
    },
    "train_info": {
        "accelerator_memory_max": 24 * 2**30,
        "train_time": 2000.5,
        "file_size": 2**20,
        "num_trainable_params": 9_461_760,
        "status": "success",
        "metrics": [{"step": 250, "valid accuracy": 0.3}, {"step": 5000, "test accuracy": 0.526}],
    },
    "meta_info": {"package_info": {"peft-version": "0.17"}, "system_info": {"accelerator": "NVIDIA L40S"}},
}


def written(tmp_path: Path, text: str, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_an_experiment_of_pefts(tmp_path: Path) -> None:
    row = read_foreign(written(tmp_path, json.dumps(EXPERIMENT)))
    assert isinstance(row, ExperimentRow)
    assert (row.test_accuracy, row.peak_bytes, row.method) == (0.526, 24 * 2**30, "LORA")
    older = {**EXPERIMENT, "run_info": {**EXPERIMENT["run_info"], "peft_config": None},
             "train_info": {"cuda_memory_max": 5, "status": "failed", "metrics": []}, "meta_info": None}  # fmt: skip
    row = read_foreign(written(tmp_path, json.dumps(older)))
    assert isinstance(row, ExperimentRow)
    assert (row.method, row.peak_bytes, row.test_accuracy) == ("full fine-tuning", 5, None)


def test_experiments_on_two_accelerators_are_marked_not_comparable(tmp_path: Path) -> None:
    one = read_foreign(written(tmp_path, json.dumps(EXPERIMENT)))
    moved = {**EXPERIMENT, "meta_info": {"system_info": {"accelerator": "other"}}}
    other = read_foreign(written(tmp_path, json.dumps(moved)))
    (alone,) = [block for block in foreign_section([one]).blocks if isinstance(block, Table)]
    (mixed,) = [block for block in foreign_section([one, other]).blocks if isinstance(block, Table)]
    assert alone.rows[0][3].status is CellStatus.OK
    assert {row[3].status for row in mixed.rows} == {CellStatus.INCOMPARABLE}


def test_fastchats_judgments_are_means_over_questions(tmp_path: Path) -> None:
    def line(question: int, turn: int, score: float) -> str:
        told = {"question_id": question, "model": "a<b>", "turn": turn, "score": score}
        return json.dumps({**told, "judge": ["gpt-4", "single-v1"], "user_prompt": "p", "judgment": "[[5]]"})

    lines = [line(q, turn, score) for q in range(8) for turn, score in ((1, 4 + q % 2), (2, 6))]
    found = read_foreign(written(tmp_path, "\n".join([*lines, line(99, 1, -1)])))
    assert isinstance(found, tuple)
    ((model, scored, attempted, mean, low, high),) = found[1]
    assert (model, scored, attempted) == ("a<b>", 16, 17)
    assert mean == pytest.approx(5.25)
    assert low is not None and high is not None and low < 5.25 < high


def test_the_real_judgments(shared_data: Path) -> None:
    found = read_foreign(shared_data / "mtbench" / "gpt4_single_judgments.jsonl")
    assert isinstance(found, tuple)
    assert sum(row[2] for row in found[1]) == 960
    assert all(row[3] is not None and 1 <= row[3] <= 10 for row in found[1])


def test_the_authors_logs_by_their_header(tmp_path: Path) -> None:
    text = "model,task,method,seed,metric,value,peak_mem_mib\nroberta-base,cola,ft,1,mcc,0.6,1000\n"
    logs = read_foreign(written(tmp_path, text))
    assert isinstance(logs, Logs)
    (table,) = [block for block in foreign_section([logs]).blocks if isinstance(block, Table)]
    assert table.rows[0][3].text == "60.0"


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[1]", "\x00", json.dumps({"train_info": 3}), json.dumps({**EXPERIMENT, "train_info": {}}),
     '{"question_id": 1}\n{"question_id": 2}', "[" * 100_000],
)  # fmt: skip
def test_anything_else_is_a_wrong_request(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_foreign(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequest, match="UTF-8"):
        read_foreign(path)
