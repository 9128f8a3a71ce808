"""Records of runs: the same replies, the same record; other replies, another one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bench.record import Status
from bench.store import Store
from eval.mtbench.filing import Filing, write_report
from eval.mtbench.items import Reply
from eval.mtbench.parsing import Outcome, Verdict
from eval.mtbench.scoring import Grade
from eval.mtbench.session import Graded


def graded(text: str | None, stopped: str | None = None) -> Graded:
    """One judgment, by a reply with that text or by none."""
    reply = Reply(key="k", text=text, finish_reason="stop") if text else None
    verdict = Verdict(outcome=Outcome.SCORED, score=5.0) if reply else Verdict(outcome=Outcome.MISSING)
    grade = Grade(
        question_id=1,
        category="math",
        model="m",
        choice=0,
        turn=1,
        repeat=0,
        verdict=verdict,
        marks=(),
        ending="stop",
        mended=False,
        reasked=False,
        replies=(reply,) if reply else (),
    )
    return Graded(grades=[grade], requests=0, stopped=stopped)


def filing(**config: object) -> Filing:
    words = ["--judge", "gpt-4"]
    return Filing(kind="mtbench", config=config, fingerprints={}, argv=words, seed=0, started=datetime.now(UTC))


def test_a_whole_run_is_filed_once(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first = filing().file(store, {"mean": 5.0}, graded("[[5]]"))
    assert first.status is Status.OK and first.command == "python -m eval.mtbench --judge gpt-4"
    assert filing().file(store, {"mean": 5.0}, graded("[[5]]")) == first
    assert len(store.read_all("mtbench")[0]) == 1
    assert filing().file(store, {"mean": 5.0}, graded("Rating: [[5]]")).key != first.key
    assert filing(repeats=2).file(store, {"mean": 5.0}, graded("[[5]]")).key != first.key


def test_a_run_that_lacks_replies_is_no_ok_record(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    lacking = filing().file(store, {}, graded(None))
    assert (lacking.status, lacking.reason) == (Status.ERROR, "1 of 1 judgments have no answer or no reply")
    stopped = filing().file(store, {}, graded("[[5]]", stopped="the quota is spent"))
    assert stopped.reason == "stopped: the quota is spent"
    both = filing(repeats=2).file(store, {}, graded(None, stopped="the quota is spent"))
    assert both.reason == "1 of 1 judgments have no answer or no reply; stopped: the quota is spent"


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    write_report(tmp_path / "a" / "b", {"report.md": b"one", "scores.svg": b"two"})
    write_report(tmp_path / "a" / "b", {"report.md": b"one"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "a" / "b").iterdir()} == {
        "report.md": b"one",
        "scores.svg": b"two",
    }
