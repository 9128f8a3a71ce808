"""What the README shows is run: its Python block as written, its commands as dry runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^(python -m (?:bench|eval)\..*)$", README, flags=re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README calls path/to/model and path/to/glue."""
    config = BertConfig(vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "path/to/model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "plane", "is", "taking", "off", "."]
    (tmp_path / "path/to/model/vocab.txt").write_text("\n".join(words))
    task = tmp_path / "path/to/glue/cola"
    task.mkdir(parents=True)
    rows = [f"A plane is taking off .\t{n % 2}\t{n}" for n in range(40)]
    for split in ("train", "validation"):
        (task / f"{split}.tsv").write_text("\n".join(["sentence\tlabel\tidx", *rows, ""]))
    answer = {"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["One.", "Two."]}], "tstamp": 0.0}
    (tmp_path / "path/to/answers.jsonl").write_text(json.dumps(answer) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers by that name
def test_the_library_blocks_run_as_written(place: Path) -> None:
    """In one session, one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    torch.manual_seed(0)
    ids = torch.randint(5, 60, (30, 2, 8))
    batches = [{"input_ids": row, "labels": torch.tensor([0, 1])} for row in ids]
    scope: dict[str, object] = {"batches": batches}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert (place / "my-model/sparsegrad.safetensors").is_file()
    assert (place / "my-adapter/sparsegrad_adapter.safetensors").is_file()
    assert (place / "my-peft-adapter/adapter_model.safetensors").is_file()


def test_there_are_commands_to_run() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str, place: Path) -> None:
    argv = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run([*argv, "--dry-run"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 3
    assert not list(place.glob("results/*/*.json"))


def test_the_table_is_one_that_a_record_holds() -> None:
    """No figure without its record: the README's steps a second are those of a published one."""
    records = [json.loads(path.read_text()) for path in (ROOT / "reports/published").glob("*/speed/*.json")]
    told = re.findall(r"^│(\S+) +│ +([0-9.]+) │", README, flags=re.MULTILINE)
    assert len(told) == 7 and "<!--" not in README
    tables = [[(row["method"], f"{row['steps_per_s']:.3g}") for row in r["result"]["rows"]] for r in records]
    assert told in tables


def published(folder: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in (ROOT / "reports/published" / folder).glob("*/*.json")]


def test_the_accuracies_are_those_of_published_records() -> None:
    runs = [r for r in published("2026-11-21-cpu-sst2") if r["config"].get("scored_on") == "reported"]
    told = dict(re.findall(r"^\| (\S+)(?: \([^|]*\))? \| [0-9.]+[Mk] \| ([0-9.]+) \|", README, flags=re.MULTILINE))
    assert len(told) == 5 and all(run["status"] == "ok" for run in runs)
    for method, accuracy in told.items():
        scores = [
            run["result"]["splits"]["validation"]["headline"] for run in runs if run["config"]["method"] == method
        ]
        assert len(scores) == 3 and accuracy == f"{100 * sum(scores) / 3:.1f}"


def test_the_predicted_peaks_are_those_of_published_records() -> None:
    records = [r for r in published("2026-11-21-predicted") if r["config"]["model"] == "llama-2-7b"]
    peaks = {(r["config"]["method"], r["config"]["fixed_basis"]): r["result"]["peak_bytes"] for r in records}
    told = re.findall(
        r"^\| ([a-z-]+)(?:,? \(?([a-z-]+)[^|]*)? \| ([0-9,]{6}) \| ([0-9.]+) \|", README, flags=re.MULTILINE
    )
    assert len(told) == 5
    for method, basis, mebibytes, ratio in told:
        peak = peaks[method, "shared" if basis == "shared" else "per-block"]
        assert mebibytes == f"{peak / 2**20:,.0f}"
        assert float(ratio) == pytest.approx(peak / peaks["lora", "per-block"], abs=5e-4)
