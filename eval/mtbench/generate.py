"""Answer every question with a model, answer by answer, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from eval.mtbench.answers import AnswerFile
from eval.mtbench.decoding import Said, Wish
from eval.mtbench.items import Answer, Question
from eval.mtbench.sampling import row_seed
from eval.mtbench.speaker import Speaker

__all__ = ["TEMPERATURES", "generate", "temperature_of"]

# As published with MT-Bench (FastChat, llm_judge/common.py: temperature_config); any other category has 0.7 there.
TEMPERATURES: Mapping[str, float] = MappingProxyType(
    {
        "writing": 0.7,
        "roleplay": 0.7,
        "extraction": 0.0,
        "math": 0.0,
        "coding": 0.0,
        "reasoning": 0.0,
        "stem": 0.1,
        "humanities": 0.1,
    }
)
_OTHER_CATEGORIES = 0.7

_Place = tuple[Question, int]


def temperature_of(category: str) -> float:
    """The published temperature for a category."""
    return TEMPERATURES.get(category, _OTHER_CATEGORIES)


def generate(
    speaker: Speaker,
    questions: Sequence[Question],
    *,
    path: Path,
    choices: int = 1,
    seed: int = 0,
    max_new_tokens: int = 1024,
    batch_size: int = 8,
    progress: Callable[[Answer], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Answer]:
    """An answer for each question and choice, those that ``path`` already holds not made again.

    Every answer is on the disk in ``path`` (FastChat's schema) before ``progress`` is told of it; ``say`` hears of
    what failed. Batches are cut before what is there is left out, so that a resumed run differs from a whole one by
    no more than the rounding of smaller batches. Raises BadRequest where ``path`` holds answers made in another way,
    or another process is writing there.
    """
    if min(choices, max_new_tokens, batch_size) < 1:
        raise ValueError("choices, max_new_tokens and batch_size must be 1 or more")
    places = [(question, choice) for question in questions for choice in range(choices)]
    made_by = _fingerprint({**speaker.config(), "seed": seed, "max_new_tokens": max_new_tokens})
    with AnswerFile.open(path, model=speaker.name, made_by=made_by) as file:
        for batch in _batches(places, batch_size):
            missing = [place for place in batch if (place[0].question_id, place[1]) not in file.answers]
            new = _answers(speaker, missing, seed, max_new_tokens, say)
            for place in batch:
                key = place[0].question_id, place[1]
                if key in new:
                    file.put(new[key])
                if progress is not None:
                    progress(file.answers[key])
        return [file.answers[question.question_id, choice] for question, choice in places]


def _answers(
    speaker: Speaker, places: Sequence[_Place], seed: int, max_new_tokens: int, say: Callable[[str], None]
) -> dict[tuple[int, int], Answer]:
    """Both turns of each place; a turn after one that failed fails with it, for it would answer to nothing."""
    said: list[list[Said]] = [[] for _ in places]
    for turn in range(1, 1 + max((len(question.turns) for question, _ in places), default=0)):
        asked, wishes = [], []
        for row, (question, choice) in enumerate(places):
            if turn > len(question.turns):
                continue
            if said[row] and said[row][-1].ending == "failed":
                said[row].append(Said(text="", ending="failed", reason=f"turn {turn - 1} failed"))
                continue
            asked.append(row)
            wishes.append(
                Wish(
                    prompt=speaker.template.prompt(question.turns[:turn], [told.text for told in said[row]]),
                    temperature=temperature_of(question.category),
                    seed=row_seed(seed, question.question_id, choice, turn),
                    max_new_tokens=max_new_tokens,
                )
            )
        for row, told in zip(asked, speaker.say(wishes), strict=True):
            said[row].append(told)
            if told.ending == "failed":
                say(f"question {places[row][0].question_id}, turn {turn} has no answer: {told.reason}")
    return {
        (question.question_id, choice): Answer(
            question_id=question.question_id,
            model=speaker.name,
            choice=choice,
            turns=tuple(told.text for told in turns),
            endings=tuple(told.ending for told in turns),
            mended=any(told.mended for told in turns),
        )
        for (question, choice), turns in zip(places, said, strict=True)
    }


def _batches(places: Sequence[_Place], size: int) -> Iterator[Sequence[_Place]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _fingerprint(config: Mapping[str, object]) -> str:
    canonical = json.dumps(config, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
