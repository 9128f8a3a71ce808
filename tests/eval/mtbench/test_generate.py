"""Answers by a model: each as if it were alone, the same when a run goes on, and never in the wrong words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from bench.errors import BadRequest
from eval.mtbench.answers import read_answers
from eval.mtbench.decoding import Said, Wish
from eval.mtbench.generate import TEMPERATURES, generate, temperature_of
from eval.mtbench.items import Answer, Question
from eval.mtbench.sampling import RowSampler, row_seed
from eval.mtbench.speaker import Speaker
from tests.eval.mtbench.llama_folder import save_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chat model."""
    return save_chat_model(tmp_path_factory.mktemp("chat") / "tiny-chat")


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Speaker:
    """The chat model, loaded."""
    return Speaker.load(str(folder))


QUESTIONS = [
    Question(question_id=81 + at, category=category, turns=(f"{category}? " * (1 + 3 * at), "And then?"), references=())
    for at, category in enumerate(("writing", "math", "stem", "roleplay", "coding"))
]


def wishes(*temperatures: float) -> list[Wish]:
    """Prompts of several lengths."""
    return [
        Wish(prompt="Say something. " * (1 + at), temperature=temperature, seed=at, max_new_tokens=24)
        for at, temperature in enumerate(temperatures)
    ]


def made(speaker: Speaker, path: Path, **options: Any) -> list[Answer]:
    """Short answers to all questions."""
    return generate(speaker, QUESTIONS, path=path, **{"max_new_tokens": 12, "batch_size": 3, **options})


class TestBatches:
    """Left padding, and a generator a row."""

    def test_each_row_is_as_if_it_were_alone(self, speaker: Speaker) -> None:
        wanted = wishes(0.0, 0.7, 0.1, 1.5, 0.0)
        assert speaker.say(wanted) == [speaker.say([wish])[0] for wish in wanted]

    def test_order_and_neighbours_change_nothing(self, speaker: Speaker) -> None:
        wanted = wishes(0.7, 0.7, 0.0)
        assert speaker.say(wanted[::-1]) == speaker.say(wanted)[::-1]

    def test_the_seed_decides_where_there_is_a_temperature_and_nowhere_else(self, speaker: Speaker) -> None:
        def texts(temperature: float) -> set[str]:
            return {
                speaker.say([Wish(prompt="Speak.", temperature=temperature, seed=seed, max_new_tokens=12)])[0].text
                for seed in range(4)
            }

        assert len(texts(0.0)) == 1 and len(texts(0.7)) == 4

    def test_an_answer_ends_by_its_own_token_or_by_length(self, speaker: Speaker) -> None:
        many = [Wish(prompt="Go.", temperature=1.5, seed=seed, max_new_tokens=300) for seed in range(6)]
        said = speaker.say(many)
        assert {told.ending for told in said} == {"stop", "length"}
        assert not any("</s>" in told.text for told in said)


class TestSampler:
    """Against softmax itself."""

    def draws(self, scores: torch.Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Counter[int]:
        rows = 4000
        sampler = RowSampler([temperature] * rows, range(rows), top_k=top_k, top_p=top_p)
        ids = torch.zeros(rows, 1, dtype=torch.long)
        return Counter(sampler(ids, scores.expand(rows, -1)).argmax(-1).tolist())

    @pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0])
    def test_draws_as_softmax_does(self, temperature: float) -> None:
        scores = torch.tensor([0.0, 0.2, -0.1, 0.1, -0.3])
        drawn = self.draws(scores, temperature)
        expected = 4000 * torch.softmax(scores / temperature, -1).double()
        assert stats.chisquare([drawn[at] for at in range(5)], (expected / expected.sum() * 4000)).pvalue > 1e-3

    def test_filters_what_generate_would(self) -> None:
        scores = torch.tensor([3.0, 2.0, 1.0, 0.0])
        assert set(self.draws(scores, 1.0, top_k=2)) == {0, 1}
        assert set(self.draws(scores, 1.0, top_p=0.5)) == {0}

    def test_forbidden_tokens_are_no_fault_and_other_infinities_are(self) -> None:
        bad = float("inf")
        scores = torch.tensor([[1.0, -bad], [1.0, bad], [float("nan"), 1.0], [-bad, -bad]])
        sampler = RowSampler([0.0] * 4, range(4), top_k=0, top_p=1.0)
        assert sampler(torch.zeros(4, 1, dtype=torch.long), scores).argmax(-1)[0] == 0
        assert sampler.broken.tolist() == [False, True, True, True]

    def test_every_turn_has_its_own_seed(self) -> None:
        turns = [(0, 81, 0, 1), (0, 81, 0, 2), (0, 81, 1, 1), (0, 82, 0, 1), (1, 81, 0, 1)]
        seeds = {row_seed(*turn) for turn in turns}
        assert len(seeds) == 5 and all(0 <= seed < 2**63 for seed in seeds)
        assert row_seed(0, 81, 0, 1) == 7548332815069343209  # answers resumed by another version stay the same


class TestGenerate:
    """Files, resuming, and what cannot be answered."""

    def test_every_question_and_choice_is_answered_in_both_turns(self, speaker: Speaker, tmp_path: Path) -> None:
        told: list[Answer] = []
        answers = made(speaker, tmp_path / "a.jsonl", choices=2, progress=told.append)
        places = [(answer.question_id, answer.choice) for answer in answers]
        assert places == [(question, choice) for question in range(81, 86) for choice in (0, 1)]
        assert told == answers == read_answers(tmp_path / "a.jsonl")
        assert {(answer.model, len(answer.turns)) for answer in answers} == {("tiny-chat", 2)}
        by_place = {(answer.question_id, answer.choice): answer.turns for answer in answers}
        assert by_place[81, 0] != by_place[81, 1]  # writing: 0.7
        assert by_place[82, 0] == by_place[82, 1]  # math: 0

    def test_a_run_that_goes_on_gives_the_answers_of_a_whole_one(self, speaker: Speaker, tmp_path: Path) -> None:
        whole = made(speaker, tmp_path / "whole.jsonl", choices=2)

        class Stopped(Exception):
            pass

        seen = []

        def stop(answer: Answer) -> None:
            seen.append(answer)
            if len(seen) == 6:  # one more than is kept: its line is torn below
                raise Stopped

        path = tmp_path / "part.jsonl"
        with pytest.raises(Stopped):
            made(speaker, path, choices=2, progress=stop)
        path.write_bytes(path.read_bytes()[:-9])
        before = path.read_bytes().count(b"\n")
        assert before == 5  # in the middle of the second batch of three
        assert made(speaker, path, choices=2) == whole
        assert path.read_bytes().count(b"\n") == 10
        content = path.read_bytes()
        assert made(speaker, path, choices=2) == whole and path.read_bytes() == content

    @pytest.mark.parametrize("change", [{"seed": 1}, {"max_new_tokens": 13}])
    def test_another_setting_does_not_mix_in(self, change: dict[str, int], speaker: Speaker, tmp_path: Path) -> None:
        made(speaker, tmp_path / "a.jsonl")
        with pytest.raises(BadRequest, match="another model, template or setting"):
            made(speaker, tmp_path / "a.jsonl", **change)
        made(speaker, tmp_path / "a.jsonl", batch_size=1)

    def test_the_second_turn_is_asked_with_the_first_answer(
        self, speaker: Speaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompts: list[str] = []

        def say(wanted: list[Wish]) -> list[Said]:
            prompts.extend(wish.prompt for wish in wanted)
            return [Said(text=f"answer {len(prompts)}", ending="stop") for _ in wanted]

        monkeypatch.setattr(speaker, "say", say)
        generate(speaker, QUESTIONS[:1], path=tmp_path / "a.jsonl")
        assert prompts[0] == "<s><|user|>\nwriting? </s>\n<|assistant|>\n"
        assert prompts[1] == (
            "<s><|user|>\nwriting? </s>\n<|assistant|>\nanswer 1</s>\n<|user|>\nAnd then?</s>\n<|assistant|>\n"
        )

    def test_temperatures_are_the_published_ones(self) -> None:
        greedy = dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0)
        assert {"writing": 0.7, "roleplay": 0.7, **greedy, "stem": 0.1, "humanities": 0.1} == TEMPERATURES
        assert {temperature_of(category) for category in ("generic", "fermi", "counterfactual")} == {0.7}


class TestFailures:
    """Marked, told, and not fatal."""

    def test_a_prompt_beyond_the_context_fails_alone(self, tmp_path: Path) -> None:
        speaker = Speaker.load(str(save_chat_model(tmp_path / "short", max_position_embeddings=68)))
        told: list[str] = []
        answers = made(speaker, tmp_path / "a.jsonl", max_new_tokens=16, say=told.append)
        assert [answer.endings[0] for answer in answers] == ["length", "length", "failed", "failed", "failed"]
        assert answers[4].turns == ("", "") and answers[4].endings == ("failed", "failed")
        assert any("question 85, turn 1 has no answer" in line and "takes 68" in line for line in told)

    def test_an_answer_may_fill_what_room_there_is(self, tmp_path: Path) -> None:
        speaker = Speaker.load(str(save_chat_model(tmp_path / "short", max_position_embeddings=64, eos_token_id=None)))
        room = 64 - len("Say something. ")
        alone = [Wish(prompt="Say something. ", temperature=0, seed=0, max_new_tokens=1024)]
        others = [Wish(prompt="Say. ", temperature=0, seed=0, max_new_tokens=1024)]
        said = speaker.say(alone + others)
        assert said == speaker.say(alone) + speaker.say(others) and said[0].ending == "length"
        assert len(said[0].text.encode()) <= 4 * room

    def test_logits_that_are_no_numbers_fail_their_own_row(self, folder: Path, tmp_path: Path) -> None:
        speaker = Speaker.load(str(folder))
        good = speaker.say(wishes(0.0, 0.7))
        token = speaker._tokenizer.convert_tokens_to_ids("Z")
        with torch.no_grad():
            speaker._decoder._model.get_input_embeddings().weight[token] = float("nan")
        bad = Wish(prompt="Zzz", temperature=0.7, seed=3, max_new_tokens=24)
        said = speaker.say([*wishes(0.0, 0.7), bad])
        assert said[:2] == good
        assert (said[2].text, said[2].ending) == ("", "failed") and "not finite" in said[2].reason

    def test_what_does_not_fit_in_memory_together_is_said_in_parts(
        self, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = speaker.say(wishes(0.0, 0.7, 0.1))
        model = speaker._decoder._model
        least = [2]

        class Small:
            def __getattr__(self, name: str) -> Any:
                return getattr(model, name)

            def generate(self, **options: Any) -> Any:
                if len(options["input_ids"]) >= least[0]:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return model.generate(**options)

        monkeypatch.setattr(speaker._decoder, "_model", Small())
        assert speaker.say(wishes(0.0, 0.7, 0.1)) == whole
        least[0] = 1
        assert {told.ending for told in speaker.say(wishes(0.0, 0.7))} == {"failed"}
