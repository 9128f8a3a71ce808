"""One protocol: questions, references and the judge's prompts, their hashes, and what they may be compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BadRequest
from eval.mtbench.items import Question
from eval.mtbench.prompts import Prompts, read_prompts
from eval.mtbench.published import FILES, NotAtHand, obtain
from eval.mtbench.questions import POLICIES, Policy, read_questions, read_references, under_policy, without

__all__ = ["PUBLISHED_SETS", "Protocol", "load_protocol"]

_OWN = Path(__file__).parent / "own"
_OWN_SET = "own"


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """A published set: its files, and the references it is graded with unless another policy is asked for."""

    questions: str
    references: str
    policy: Policy


PUBLISHED_SETS = {
    "mt-bench-inf": QuestionSet(
        questions="mt_bench_inf.jsonl", references="reference_answer_gpt-4.jsonl", policy="per-turn-fallback"
    ),
    "mt-bench": QuestionSet(questions="question.jsonl", references="reference_answer_gpt-4.jsonl", policy="gpt-4"),
    "vicuna": QuestionSet(
        questions="vicuna_question.jsonl", references="vicuna_reference_answer_gpt-4.jsonl", policy="gpt-4"
    ),
}
_DEFAULT_SET = "mt-bench-inf"  # the paper's


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is asked and how it is judged."""

    name: str
    policy: Policy
    prompts_name: str
    """published or own."""
    questions: tuple[Question, ...]
    prompts: Prompts
    labels: tuple[str, ...]
    """Why the scores are not those of the published protocol; empty where they are."""
    policies: tuple[str, ...]
    """How references were given."""
    fingerprints: dict[str, str]
    """SHA-256 of every file read."""


def load_protocol(
    which: str | None, *, policy: Policy | None, prompts: str | None, data_dir: Path | None, limit: int | None
) -> Protocol:
    """The protocol of ``--questions`` and its fellows.

    Without ``which``: MT-Bench Inf, or where that cannot be had the project's own questions, labelled as that. Raises
    BadRequest for what cannot be read, and for a reference policy or a limit that does not fit.
    """
    if which is None:
        try:
            return load_protocol(_DEFAULT_SET, policy=policy, prompts=prompts, data_dir=data_dir, limit=limit)
        except NotAtHand:
            if data_dir is not None or policy is not None or prompts is not None:
                raise
            which = _OWN_SET
    if limit is not None and limit < 1:
        raise BadRequest(f"--limit {limit} leaves no question; give 1 or more")
    files, policy = _files(which, policy, data_dir)
    everything = read_questions(files["questions"])
    given = read_references(files["references"]) if "references" in files else None
    questions = under_policy(everything, policy, given)[:limit]
    prompts = prompts or ("own" if which == _OWN_SET else "published")
    files["prompts"] = _OWN / "judge_prompts.jsonl" if prompts == "own" else obtain("judge_prompts.jsonl", data_dir)
    return Protocol(
        name=which if which in (*PUBLISHED_SETS, _OWN_SET) else Path(which).name,
        policy=policy,
        prompts_name=prompts,
        questions=tuple(questions),
        prompts=read_prompts(files["prompts"]),
        labels=tuple(_labels(which, prompts, questions, len(everything))),
        policies=tuple(_policies(questions, policy)),
        fingerprints={name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
    )


def _files(which: str, policy: Policy | None, data_dir: Path | None) -> tuple[dict[str, Path], Policy]:
    """Where questions and references stand, and under which policy."""
    if policy not in (None, *POLICIES):
        raise BadRequest(f"--references {policy!r} is not known; give {', '.join(POLICIES)}")
    published = PUBLISHED_SETS.get(which)
    if published is None:
        files = {"questions": _OWN / "questions.jsonl" if which == _OWN_SET else _own_file(which)}
        if policy not in (None, "inf"):
            raise BadRequest(
                f"--references {policy}: GPT-4's references belong to the published questions; give --references inf, "
                f"which takes those in the file, or --questions {', '.join(PUBLISHED_SETS)}"
            )
        return files, "inf"
    files = {"questions": obtain(published.questions, data_dir)}
    policy = policy or published.policy
    if policy != "inf":
        files["references"] = obtain(published.references, data_dir)
    return files, policy


def _own_file(which: str) -> Path:
    path = Path(which)
    if not path.is_file():
        known = ", ".join([*PUBLISHED_SETS, _OWN_SET])
        raise BadRequest(f"--questions {which!r} is no set and no file; give {known} or a file in FastChat's schema")
    return path


def _labels(which: str, prompts: str, questions: Sequence[Question], of: int) -> list[str]:
    labels = []
    if which == _OWN_SET:
        labels.append("not the published protocol: the project's own 16 questions; compare with nothing but itself")
    elif which not in PUBLISHED_SETS:
        labels.append(f"not the published protocol: the questions of {Path(which).name}")
    elif FILES[PUBLISHED_SETS[which].questions].sha256 is None:
        labels.append(f"{which}: its files are unverified, no SHA-256 of them was published")
    if prompts == "own":
        labels.append("not the published protocol: the project's own judge prompt")
    if mended := [str(question.question_id) for question in questions if question.mended]:
        labels.append(f"questions that held half a surrogate pair, now U+FFFD: {', '.join(mended)}")
    if len(questions) < of:
        labels.append(f"the first {len(questions)} of {of} questions: not comparable with scores on all")
    return labels


def _policies(questions: list[Question], policy: Policy) -> list[str]:
    told = [f"references: {policy}"]
    if bare := without(questions):
        places = ", ".join(f"{question}/{turn}" for question, turn in bare)
        told.append(f"graded by the general prompt for want of a reference (question/turn): {places}")
    return told
