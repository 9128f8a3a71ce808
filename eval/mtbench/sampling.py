"""Sampling in which each row of a batch has its own seed and temperature, so that its text is its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria, TopKLogitsWarper, TopPLogitsWarper

__all__ = ["Broken", "RowSampler", "row_seed"]

# Below it FastChat searches greedily (gen_model_answer.py).
_GREEDY_BELOW = 1e-4


def row_seed(seed: int, question_id: int, choice: int, turn: int) -> int:
    """A seed of its own for each turn of each choice, the same in every run."""
    told = f"{seed}/{question_id}/{choice}/{turn}".encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:8], "big") >> 1


class RowSampler(LogitsProcessor):
    """Makes greedy search draw: the largest of ``logits / T + Gumbel noise`` is distributed as softmax(logits / T).

    (Gumbel, 1954; Maddison, Tarlow and Minka, A* Sampling, 2014.) The noise of a row comes from its own generator on
    the CPU, so that neither its neighbours nor the device change what is drawn. Top-k and top-p are applied as
    ``generate`` does when it samples. Rows whose logits are not finite are remembered in ``broken``.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], *, top_k: int, top_p: float) -> None:
        self.broken = torch.zeros(len(seeds), dtype=torch.bool)
        self._temperatures = temperatures
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._warpers: list[LogitsProcessor] = []
        if top_k > 0:
            self._warpers.append(TopKLogitsWarper(top_k=top_k))
        if top_p < 1:
            self._warpers.append(TopPLogitsWarper(top_p=top_p))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) whose largest entry is the token drawn."""
        scores = scores.float().clone()
        # -inf forbids a token, and is no fault unless it forbids them all.
        finite = ~(scores.isnan() | (scores == torch.inf)).any(-1) & (scores > -torch.inf).any(-1)
        self.broken |= ~finite.cpu()
        scores[~finite] = 0.0
        for row, (temperature, generator) in enumerate(zip(self._temperatures, self._generators, strict=True)):
            if temperature >= _GREEDY_BELOW:
                scores[row] = self._noisy(input_ids[row : row + 1], scores[row : row + 1] / temperature, generator)
        return scores

    def _noisy(self, ids_1T: Tensor, scores_1V: Tensor, generator: torch.Generator) -> Tensor:
        for warper in self._warpers:
            scores_1V = warper(ids_1T, scores_1V)
        uniform_V = torch.rand(scores_1V.shape[-1], generator=generator, dtype=torch.float64)
        gumbel_V = -(-uniform_V.clamp_min(torch.finfo(torch.float64).tiny).log()).log()
        return (scores_1V + gumbel_V.to(scores_1V)).squeeze(0)


class Broken(StoppingCriteria):
    """Ends the rows that a sampler found broken: there is nothing to go on with."""

    def __init__(self, sampler: RowSampler) -> None:
        self._sampler = sampler

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """Which rows end."""
        return self._sampler.broken.to(input_ids.device)
