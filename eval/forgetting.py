"""Forgetting: what fine-tuning costs the pretrained language model, as its loss on other text before and after.

An encoder's pretrained head predicts masked tokens. It is put on top of the body as it is before training and after,
and asked for the same masked tokens of the same texts; the head itself stays as it was, all methods share it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.batches import collate
from bench.errors import BadRequest
from bench.hub import first_line, quiet
from bench.models import ModelSource
from bench.paired import paired_difference
from bench.record import Record
from bench.tasks import TASKS, read_task
from bench.tokenize import Encoding, PretrainedTokenizer, Tokenizer

__all__ = ["MaskedText", "OtherText", "forgotten", "masked_language_model"]

# Devlin et al. 2019 mask 15% of the tokens. Enough texts that a loss of a few hundredths of a nat shows.
_MASKED, _TEXTS, _SEED, _BATCH = 0.15, 256, 7, 64
# From the hub, where it is not known which tasks are at hand.
_HUB_TASKS = ("cola", "rte", "sst2", "stsb")


@dataclass(frozen=True, kw_only=True)
class OtherText:
    """Which text is asked for, as a run's value."""

    file: str | None
    """A text a line; None: first texts of other GLUE tasks' validation splits."""
    digest: str
    """16 hex digits over the texts."""

    @classmethod
    def of(cls, task: str, data_dir: Path | None, file: Path | None) -> OtherText:
        """The text there is now; BadRequest where there is none."""
        texts = _texts(task, data_dir, file)
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
        return cls(file=None if file is None else str(file), digest=digest)

    def read(self, task: str, data_dir: Path | None) -> list[str]:
        """The texts, 256 at most; ValueError where they are others than when the run was asked for."""
        file = None if self.file is None else Path(self.file)
        if self.of(task, data_dir, file) != self:
            raise ValueError("the text for --forgetting has changed since the command began")
        return _texts(task, data_dir, file)


def _texts(task: str, data_dir: Path | None, file: Path | None) -> list[str]:
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(f"--forgetting-text {file}: cannot be read as UTF-8 text ({error})") from error
        texts = [line.strip() for line in lines if line.strip()]
        if not texts:
            raise BadRequest(f"--forgetting-text {file}: there is no text in it; give one a line")
        return texts[:_TEXTS]
    if data_dir is None:
        names = [name for name in _HUB_TASKS if name != task]
    else:
        names = [n for n in TASKS if n != task and (data_dir / n / f"{TASKS[n].splits[1]}.tsv").is_file()]
    if not names:
        raise BadRequest(f"--forgetting: --data-dir {data_dir} has no task beside {task}; give --forgetting-text FILE")
    each = -(-_TEXTS // len(names))
    read = [read_task(name, data_dir=data_dir, split=TASKS[name].splits[1], limit=each) for name in names]
    return [" ".join(example.texts) for examples in read for example in examples][:_TEXTS]


def masked_language_model(source: ModelSource) -> nn.Module:
    """The pretrained body and its head; BadRequest where the weights hold no such head."""
    from transformers import AutoModelForMaskedLM

    if source.random_weights:
        raise BadRequest("--forgetting: random weights have learnt nothing to forget; give a pretrained --model")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            model, info = AutoModelForMaskedLM.from_pretrained(
                str(source.folder),
                config=copy.deepcopy(source.config),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:
        # An architecture without such a class, weights that cannot be read: each another exception.
        raise BadRequest(f"--forgetting: {source.name} makes no masked language model ({first_line(error)})") from error
    if info["missing_keys"]:
        lost = min(info["missing_keys"])
        raise BadRequest(
            f"--forgetting: the weights of {source.name} have no masked-language-model head (no {lost}); "
            "give a --model that has one, or leave --forgetting out"
        )
    made: nn.Module = model.eval()
    return made


class MaskedText:
    """Texts with some tokens masked, the same ones each time, and the pretrained model to ask for them."""

    def __init__(self, source: ModelSource, words: Tokenizer, texts: Sequence[str], *, max_length: int) -> None:
        self._model: Any = masked_language_model(source)
        if not isinstance(words, PretrainedTokenizer) or words.mask_id is None:
            raise BadRequest(f"--forgetting: the tokenizer {words.name} has no mask token; give the model's own")
        draw = np.random.default_rng(_SEED)
        self._rows: list[tuple[Encoding, dict[int, int]]] = []
        for encoding in words.encode([(text,) for text in texts], max_length=max_length):
            ids = list(encoding.input_ids)
            free = [at for at, token in enumerate(ids) if token not in words.special_ids]
            if not free:
                continue
            chosen = draw.choice(free, size=max(1, round(_MASKED * len(free))), replace=False).tolist()
            hidden = {at: ids[at] for at in chosen}
            for at in chosen:
                ids[at] = words.mask_id
            self._rows.append((Encoding(input_ids=ids, token_type_ids=encoding.token_type_ids), hidden))
        if len(self._rows) < 2:
            raise BadRequest(
                f"--forgetting: {len(self._rows)} texts with a word that the tokenizer {words.name} knows; 2 or more "
                "are needed, one a line of --forgetting-text FILE"
            )
        self._pad_id = words.pad_id

    @property
    def masked(self) -> int:
        """Tokens asked for."""
        return sum(len(hidden) for _, hidden in self._rows)

    def losses(self, model: nn.Module) -> list[float]:
        """Of each text the mean cross-entropy of its masked tokens, nats, with the body of ``model`` (a classifier)."""
        body = _body(model)
        was_training = body.training
        setattr(self._model, self._model.base_model_prefix, body)
        self._model.tie_weights()
        device = next(body.parameters()).device
        dtype = next(p.dtype for p in body.parameters() if p.is_floating_point())
        self._model.to(device=device, dtype=dtype).eval()
        try:
            with torch.no_grad():
                told = [loss for at in range(0, len(self._rows), _BATCH) for loss in self._batch(at, device)]
        finally:
            body.train(was_training)
        return told

    def _batch(self, at: int, device: torch.device) -> list[float]:
        rows = self._rows[at : at + _BATCH]
        batch = collate([encoding for encoding, _ in rows], torch.zeros(len(rows)), pad_id=self._pad_id, width=None)
        inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
        logits_NTV: Tensor = self._model(**inputs).logits.float()
        told = []
        for logits_TV, (_, hidden) in zip(logits_NTV, rows, strict=True):
            labels = torch.tensor(list(hidden.values()), device=device)
            told.append(float(nn.functional.cross_entropy(logits_TV[list(hidden)], labels)))
        return told


def _body(model: nn.Module) -> nn.Module:
    """The encoder under a classifier, whatever a method has put into it."""
    inner: Any = getattr(model, "get_base_model", lambda: model)()  # peft's wrapper
    body: nn.Module = inner.base_model
    return body


def forgotten(records: Sequence[Record]) -> dict[str, Any] | None:
    """The rise of the loss over the records of one method, JSON types; None where it was not asked for.

    before, after: means, nats a masked token; mean, low, high: of their difference, over other texts and other seeds.
    """
    told = [record.result.get("forgetting") for record in records]
    if not told or any(one is None for one in told):
        return None
    before, after = (np.array([one[side] for one in told]) for side in ("before", "after"))  # type: ignore[index]
    found = paired_difference(np.zeros(before.shape[1]), before, after, lambda _, loss_N: float(loss_N.mean()))
    low, high = (end if np.isfinite(end) else None for end in found.interval())
    means = {"before": float(before.mean()), "after": float(after.mean())}
    return {**means, "mean": found.mean, "low": low, "high": high, "by_seed": list(found.by_seed)}
