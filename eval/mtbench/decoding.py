"""One model, one template: prompts in, answers out, many at a time and each as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.hub import first_line
from bench.models import max_positions
from eval.mtbench.hostile import well_formed
from eval.mtbench.items import Ending
from eval.mtbench.sampling import Broken, RowSampler
from eval.mtbench.templates import Template

__all__ = ["Decoder", "Said", "Wish"]

# What generate's top_k is where a model does not say: FastChat left it at that, so the published answers had it.
_TOP_K = 50


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One answer wanted: its prompt, and how it is drawn."""

    prompt: str
    temperature: float
    seed: int
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a model made of a prompt; the text of one that failed is empty."""

    text: str
    ending: Ending
    reason: str = ""
    """Of a failure: what happened."""
    mended: bool = False
    """Half a surrogate pair stood in it, and is U+FFFD here."""


class Decoder:
    """A causal model in eval mode, its tokenizer, and the template's ways to end."""

    def __init__(self, model: Any, tokenizer: Any, template: Template) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._template = template
        told = model.generation_config
        self._top_k: int = _TOP_K if told.top_k is None else told.top_k
        self._top_p: float = 1.0 if told.top_p is None else told.top_p
        self._ends = _ids(told.eos_token_id) | _ids(tokenizer.eos_token_id) | set(template.stop_ids)
        padding = [told.pad_token_id, tokenizer.pad_token_id, *sorted(self._ends), 0]
        self._padding = next(token for token in padding if token is not None)
        # Drawing is RowSampler's, so generate is to search greedily, and is not to complain of unused options.
        for option in ("temperature", "top_k", "top_p", "min_p", "typical_p", "max_length"):
            setattr(told, option, None)
        told.do_sample = False

    def say(self, wishes: Sequence[Wish]) -> list[Said]:
        """An answer to each, made together where they fit; each as if it were alone, up to rounding."""
        prompts = [self.encode(wish.prompt) for wish in wishes]
        said: dict[int, Said] = {}
        together: dict[int, list[int]] = {}
        for row, (ids, wish) in enumerate(zip(prompts, wishes, strict=True)):
            room = self._room(ids, wish.max_new_tokens)
            if room < 1:
                reason = f"the prompt has {len(ids)} tokens, the model takes {self._most()}"
                said[row] = Said(text="", ending="failed", reason=reason)
            else:
                # Rows of one limit alone: another's would run on past the model's last position.
                together.setdefault(room, []).append(row)
        for room, rows in together.items():
            done = self._generate([prompts[row] for row in rows], [wishes[row] for row in rows], room)
            said.update(zip(rows, done, strict=True))
        return [said[row] for row in range(len(wishes))]

    def encode(self, prompt: str) -> list[int]:
        """The prompt's tokens, those that the tokenizer adds included."""
        return list(self._tokenizer(prompt, add_special_tokens=self._template.adds_special_tokens)["input_ids"])

    def _generate(self, prompts: list[list[int]], wishes: list[Wish], limit: int) -> list[Said]:
        sampler = RowSampler(
            [wish.temperature for wish in wishes], [wish.seed for wish in wishes], top_k=self._top_k, top_p=self._top_p
        )
        reason = ""
        try:
            rows = self._continued(prompts, sampler, limit)
        except torch.OutOfMemoryError as error:
            rows, reason = [], first_line(error)
        if rows:
            return [self._said(row, broken) for row, broken in zip(rows, sampler.broken.tolist(), strict=True)]
        if len(prompts) == 1:
            return [Said(text="", ending="failed", reason=reason)]
        half = len(prompts) // 2
        return [
            *self._generate(prompts[:half], wishes[:half], limit),
            *self._generate(prompts[half:], wishes[half:], limit),
        ]

    @torch.inference_mode()
    def _continued(self, prompts: list[list[int]], sampler: RowSampler, limit: int) -> list[list[int]]:
        """The tokens that follow each prompt; padded on the left, so that all go on from the same column."""
        longest = max(map(len, prompts))
        device = self._model.device
        ids = torch.tensor([[self._padding] * (longest - len(row)) + row for row in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=device)
        stops = {"stop_strings": list(self._template.stop_strings), "tokenizer": self._tokenizer}
        out = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=limit,
            logits_processor=[sampler],
            stopping_criteria=[Broken(sampler)],
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=self._padding,
            use_cache=True,
            **(stops if self._template.stop_strings else {}),
        )
        return out[:, longest:].tolist()

    def _said(self, ids: list[int], broken: bool) -> Said:
        if broken:
            return Said(text="", ending="failed", reason="the model's logits are not finite")
        end = next((at for at, token in enumerate(ids) if token in self._ends), None)
        # A stop string may be a special token's text, so these go only after the cut.
        text = self._tokenizer.decode(ids[:end], skip_special_tokens=False)
        cuts = [at for stop in self._template.stop_strings if (at := text.find(stop)) >= 0]
        text = text[: min(cuts, default=None)]
        for special in self._tokenizer.all_special_tokens:
            text = text.replace(special, "")
        whole = well_formed(text)
        ending: Ending = "stop" if cuts or end is not None else "length"
        return Said(text=whole.strip(), ending=ending, mended=whole != text)

    def _most(self) -> int | None:
        return max_positions(self._model.config)

    def _room(self, prompt: list[int], wanted: int) -> int:
        """How many of the tokens wanted may follow; 0 or less where the prompt itself is too long."""
        most = self._most()
        return wanted if most is None else min(wanted, most - len(prompt))


def _ids(value: int | list[int] | None) -> set[int]:
    return set() if value is None else {value} if isinstance(value, int) else set(value)
