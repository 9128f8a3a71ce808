"""What README and guides show is run: their Python blocks as written, their commands as dry runs, their links."""

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

from tests.eval.launching import free_port

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        line
        for document in DOCUMENTS
        for line in re.findall(r"^(python -m (?:bench|eval|reports).*)$", document.read_text(), flags=re.MULTILINE)
    }
)
LAUNCHED = sorted(
    {
        line
        for document in DOCUMENTS
        for line in re.findall(r"^((?:accelerate launch|torchrun) .*)$", document.read_text(), flags=re.MULTILINE)
    }
)
WRITES = {
    "README.md": [
        "my-model/sparsegrad.safetensors",
        "my-adapter/sparsegrad_adapter.safetensors",
        "my-peft-adapter/adapter_model.safetensors",
    ],
    "fine-tune.md": ["bases.safetensors", "my-adapter/sparsegrad_adapter.safetensors"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the documents call path/to/...; layers as wide as MiniLM's, for counts of entries."""
    config = BertConfig(
        vocab_size=60, hidden_size=384, intermediate_size=1536, num_hidden_layers=1, num_attention_heads=2
    )
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
    chats = [{"instruction": f"What is taking off, {n}?", "input": "", "output": "A plane."} for n in range(20)]
    (tmp_path / "path/to/chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    _llama(tmp_path / "path/to/llama")
    for folder in ("results", "earlier-results"):
        _one_record(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _llama(folder: Path) -> None:
    """A causal model with a tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "What", "is", "taking", "off", "?", "A", "plane", ".", "USER", "ASSISTANT", ":"]
    spelled = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    spelled.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelled, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ 'USER : ' if m.role == 'user' else 'ASSISTANT : ' }}{{ m.content }}"
        "{{ ' </s>' if m.role != 'user' else ' ' }}{% endfor %}{{ 'ASSISTANT : ' if add_generation_prompt else '' }}"
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def _one_record(folder: Path) -> None:
    """A published record, for the command that reads records alone."""
    source = next((ROOT / "reports/published").glob("*/speed/*.json"))
    target = folder / "speed" / source.name
    target.parent.mkdir(parents=True)
    target.write_text(source.read_text())


@pytest.mark.parametrize("name", sorted(WRITES))
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers by that name
def test_the_library_blocks_run_as_written(name: str, place: Path) -> None:
    """In one session, one after the other."""
    text = next(document for document in DOCUMENTS if document.name == name).read_text()
    torch.manual_seed(0)
    ids = torch.randint(5, 60, (30, 2, 8))
    batches = [{"input_ids": row, "labels": torch.tensor([0, 1])} for row in ids]
    scope: dict[str, object] = {"batches": batches}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, name, "exec"), scope)
    assert [file for file in WRITES[name] if not (place / file).is_file()] == []


def test_every_room_and_command_is_shown() -> None:
    told = {command.split()[2] for command in COMMANDS}
    mains = {f"{path.parent.parent.name}.{path.parent.name}" for path in ROOT.glob("[be]*/*/__main__.py")}
    assert told >= mains | {"bench.speed", "eval.glue", "reports"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    argv = [sys.executable, *shlex.split(command)[1:]]
    argv += [] if "--dry-run" in argv else ["--dry-run"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", LAUNCHED)
def test_a_launched_command_is_understood_by_all_its_processes(command: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    launcher, *words = shlex.split(command)
    place_of_port = words.index("launch") + 1 if launcher == "accelerate" else 0
    port = "--main_process_port" if launcher == "accelerate" else "--master-port"
    words[place_of_port:place_of_port] = [port, str(free_port())]  # both launchers' own is one for all that run here
    argv = [str(Path(sys.executable).parent / launcher), *words, "--dry-run"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name}: {target}"
