"""A small LLaMA with a tokenizer of its own, briefly trained on real replies, and short runs of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from eval.chat.cell import Cell, Subject
from eval.chat.presets import CHAT_PRESETS
from tests.eval.mtbench.chat_models import save_tokenizer


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Warnings that transformers and accelerate give on any CPU run are theirs; ours stay errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(transformers|accelerate|torch\.utils\.data|torch\.amp)\b")
        yield


@pytest.fixture(scope="session")
def roleplay(shared_data: Path) -> Path:
    """Real instructions with replies, one a line."""
    return shared_data / "instruct" / "roleplay_v1.jsonl"


@pytest.fixture(scope="session")
def llama_folder(roleplay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model: 3 layers, 32 wide, 800 pieces; 30 steps on plain text, so that it has something to lose."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    texts = [json.loads(line)["output"] for line in roleplay.read_text(encoding="utf-8").splitlines()[:300]]
    tokenizer = save_tokenizer(folder, texts)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        # Near 1 / sqrt(32): with 0.02 the MLP says so little that training it could hardly be seen.
        initializer_range=0.18,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    ids = [tokenizer(text)["input_ids"] for text in texts]
    whole = torch.tensor([token for text in ids for token in [*text, 1]])
    for step in range(30):
        batch = whole[step * 512 : (step + 1) * 512].reshape(8, 64)
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def cell(llama_folder: Path, roleplay: Path, tmp_path: Path) -> Callable[..., Cell]:
    """cell(method=..., steps=..., ...): a short run; other words replace a field of the same name."""

    def make(*, seed: int = 0, limit: int | None = 24, conv_template: str | None = None, **words: object) -> Cell:
        protocol: dict[str, object] = {"steps": 6, "batch_size": 4, "max_length": 96}
        for name in (*protocol, "accumulate", "warmup_share", "padding", "max_grad_norm"):
            if name in words:
                protocol[name] = words.pop(name)
        made = CHAT_PRESETS["quick"].protocol.with_words(**protocol)
        subject = Subject(
            model=str(llama_folder),
            random_weights=False,
            tokenizer=None,
            conv_template=conv_template,
            data=str(roleplay),
            lang=None,
            limit=limit,
            max_length=made.max_length,
            seed=seed,
        )
        fields = {
            "method": "full",
            "lr": 1e-2,
            "kept": 0.05,
            "core": None,
            "fixed_basis": "per-block",
            "lora_rank": 2,
            "targets": r".*\.mlp\.(up_proj|down_proj)",
            "every": 2,
            "gradient_checkpointing": False,
            "calibration_steps": 2,
            "save": None,
            "models": tmp_path / "models",
            "device": "cpu",
            "dtype": "fp32",
        }
        return Cell(subject=subject, protocol=made, **{**fields, **words})  # type: ignore[arg-type]

    return make
