"""The table as text, whole: what was measured, what was not, and what may be said of it."""

import io
from typing import Any

import pytest
from rich.console import Console

from bench.tables import print_speed

MIB = 2**20


def row(method: str, **told: Any) -> dict[str, Any]:
    """A row as bench.rows makes it; what is not given was not measured."""
    blank: dict[str, Any] = {
        "status": "ok",
        "reason": None,
        "steps_per_s": None,
        "ratio_to_full": None,
        "verdict": None,
        "step_ms": None,
        "tokens_per_s": None,
        "forward_ms": None,
        "backward_ms": None,
        "optimizer_ms": None,
        "peak_bytes": None,
        "peak_instrument": None,
        "peak_ratio_to_full": None,
        "trainable_parameters": None,
        "updated_parameters": None,
        "adapter_bytes": None,
        "kept_entries": None,
        "convert_s": None,
        "calibration_s": None,
        "break_even_steps": None,
        "losses": [],
        "samples_ms": [],
    }
    return {**blank, "method": method, **told}


def timed(ms: float) -> dict[str, Any]:
    return {
        "steps_per_s": 1e3 / ms,
        "tokens_per_s": 1e3 * 342 / ms,
        "step_ms": ms,
        "forward_ms": ms / 4,
        "backward_ms": ms / 2,
        "optimizer_ms": ms / 4,
        "samples_ms": [ms] * 3,
    }


def between(mean: float, low: float, high: float | None, rounds: int = 3) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "rounds": rounds}


FULL = row(
    "full",
    **timed(200.0),
    ratio_to_full=between(1.0, 1.0, 1.0),
    verdict="~",
    peak_bytes=800 * MIB,
    peak_instrument="tracked",
    peak_ratio_to_full=1.0,
    trainable_parameters=7_084_034,
    updated_parameters=7_084_034,
    adapter_bytes=27 * MIB,
    convert_s=0.04,
)
LORA = row(
    "lora",
    status="oom",
    reason="OutOfMemoryError: no room",
    peak_bytes=1_234 * MIB,
    peak_instrument="tracked",
    peak_ratio_to_full=1.5425,
    trainable_parameters=162_050,
    updated_parameters=162_050,
    adapter_bytes=645_120,
)
MEPROP = row(
    "meprop",
    **timed(196.0),
    ratio_to_full=between(1.02, 0.97, 1.07),
    verdict="~",
    status="error",
    reason="peak memory: RuntimeError: boom",
    kept_entries={"layers": 12, "least": 5_898, "most": 5_898, "sum": 70_776},
    convert_s=0.06,
)
SD = row(
    "sparsegrad-sd",
    **timed(100.0),
    ratio_to_full=between(2.0, 1.9, 2.1),
    verdict="faster",
    peak_bytes=600 * MIB,
    peak_instrument="tracked",
    peak_ratio_to_full=0.75,
    trainable_parameters=7_084_034,
    updated_parameters=89_000,
    adapter_bytes=27 * MIB,
    kept_entries={"layers": 12, "least": 5_000, "most": 5_898, "sum": 70_000},
    convert_s=0.5,
    calibration_s=12.0,
    break_even_steps=1_250.0,
)
CALIBRATION = {
    "methods": ["sparsegrad-sd", "sparsegrad-planned"],
    "status": "ok",
    "reason": None,
    "basis": "shared",
    "calibration_s": 12.0,
    "steps": 30,
    "peak_bytes": 500 * MIB,
    "instrument": "tracked",
}


def result(*rows: dict[str, Any], **told: Any) -> dict[str, Any]:
    unmeasured = {"status": "ok", "reason": None, "mean": None, "low": None, "high": None, "rounds": 0}
    blank: dict[str, Any] = {
        "aa": unmeasured,
        "pairs": [],
        "zero_row_share": None,
        "calibrations": [],
        "workload": {"tokenizer": None},
    }
    return {"rows": list(rows), **blank, **told}


def printed(value: dict[str, Any], width: int = 150, title: str = "tiny, [synthetic]") -> str:
    text = io.StringIO()
    print_speed(Console(file=text, width=width), title, value)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


WHOLE = """\
tiny, [synthetic]
┏━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━┓
┃method        ┃ steps/s ┃        speed vs full ┃ tokens/s ┃ fwd + bwd + opt, ms ┃      peak ┃ vs full ┃ trainable ┃ updated ┃ adapter ┃               setup┃
┡━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━┩
│full          │       5 │                    1 │    1,710 │       50 + 100 + 50 │   800 MiB │   1.00x │     7.08M │   7.08M │  27 MiB │               0.0 s│
│lora          │     oom │                      │          │                     │ 1,234 MiB │   1.54x │      162k │    162k │ 0.6 MiB │                 n/a│
│meprop        │     5.1 │ ~ 1.02x [0.97, 1.07] │    1,745 │        49 + 98 + 49 │     error │         │       n/a │     n/a │     n/a │               0.1 s│
│sparsegrad-sd │      10 │   2.00x [1.90, 2.10] │    3,420 │        25 + 50 + 25 │   600 MiB │   0.75x │     7.08M │     89k │  27 MiB │ 12.5 s, 1,250 steps│
└──────────────┴─────────┴──────────────────────┴──────────┴─────────────────────┴───────────┴─────────┴───────────┴─────────┴─────────┴────────────────────┘
tokens/s: padding not counted. trainable, updated: parameters (a step). adapter: what is kept of the tuned linears beside the base model.
setup: calibration and conversion, each timed once (no interval), then the training steps after which they are earned back against full.
[low, high]: 95% CI of the ratio over 3 paired rounds.
A/A: full against itself 0.99x [0.96, 1.03]; ~ marks what is not told apart from that.
peak: tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size), each method in a fresh process.
calibration of sparsegrad-sd, sparsegrad-planned: 12.0 s for 30 batches, timed once, peak 500 MiB.
calibration of sparsegrad-compact: 3.0 s for 30 batches, timed once, peak 500 MiB.
zero rows of dL/dy (padding): 0.691 of all.
5,898 entries kept a step in each of 12 layers: meprop.
5,000 to 5,898 entries kept a step in each of 12 layers: sparsegrad-sd.
sparsegrad-sd over sparsegrad-regular: 1.50x [1.40, 1.60] the speed, 0.99x the peak; losses within 2.5e-07 over 8 steps.
sparsegrad-sd over frozen: 1.50x [1.40, 1.60] the speed.
lora: oom: OutOfMemoryError: no room
meprop: error: peak memory: RuntimeError: boom
"""  # noqa: E501


def test_a_whole_table() -> None:
    pair = {
        "method": "sparsegrad-sd",
        "over": "sparsegrad-regular",
        "speed_ratio": between(1.5, 1.4, 1.6),
        "peak_ratio": 0.987,
        "largest_loss_difference": 2.5e-7,
        "steps": 8,
    }
    limit = {**pair, "over": "frozen", "peak_ratio": None, "largest_loss_difference": None}
    value = result(
        FULL,
        LORA,
        MEPROP,
        SD,
        aa=between(0.99, 0.96, 1.03),
        pairs=[pair, limit],
        zero_row_share=0.6912,
        calibrations=[CALIBRATION, {**CALIBRATION, "methods": ["sparsegrad-compact"], "calibration_s": 3.0}],
    )
    assert printed(value) == WHOLE.rstrip("\n")


ONE_ROUND = """\
one
┏━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━┳━━━━━━┓
┃method ┃ steps/s ┃ speed vs full ┃ tokens/s ┃ fwd + bwd + opt, ms ┃    peak ┃ vs full ┃ trainable ┃ updated ┃ adapter ┃ setup┃
┡━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━┩
│full   │       5 │             1 │    1,710 │       50 + 100 + 50 │ 800 MiB │   1.00x │     7.08M │   7.08M │  27 MiB │ 0.0 s│
└───────┴─────────┴───────────────┴──────────┴─────────────────────┴─────────┴─────────┴───────────┴─────────┴─────────┴──────┘
tokens/s: padding not counted. trainable, updated: parameters (a step). adapter: what is kept of the tuned linears beside the base model.
setup: calibration and conversion, each timed once (no interval), then the training steps after which they are earned back against full.
[low, high]: 95% CI of the ratio over 1 paired rounds.
A/A: full against itself 1.01x [0.00, inf]; ~ marks what is not told apart from that.
peak: tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size), each method in a fresh process.
"""  # noqa: E501


def test_one_round_is_unbounded_and_says_so() -> None:
    single = {**FULL, "samples_ms": [200.0], "ratio_to_full": between(1.0, 0.0, None, 1)}
    value = result(single, aa=between(1.01, 0.0, None, 1))
    assert printed(value, title="one") == ONE_ROUND.rstrip("\n")


def test_nothing_measured_is_still_a_table() -> None:
    """No figure anywhere: no digit but those of the row counts."""
    text = printed(result(row("full", status="error", reason="RuntimeError: boom")))
    cells = [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith("│full")).split("│")]
    assert cells[1:-1] == ["full", "error", "", "", "", "error", "", "n/a", "n/a", "n/a", "n/a"]
    assert "full: error: RuntimeError: boom" in text
    assert "peak:" not in text and "A/A" not in text and "zero rows" not in text and "calibration:" not in text


@pytest.mark.parametrize("width", [150, 120, 80])
def test_no_figure_is_cut_however_narrow_the_terminal(width: int) -> None:
    text = printed(result(FULL, LORA, MEPROP, SD), width)
    assert "…" not in text
    for figure in (
        "2.00x [1.90, 2.10]",
        "~ 1.02x [0.97, 1.07]",
        "1,234 MiB",
        "1,250 steps",
        "25 + 50 + 25",
        "3,420",
        "0.6 MiB",
    ):
        assert figure in text


def test_brackets_of_a_title_or_a_reason_are_text() -> None:
    """rich reads [red] as a colour where it is let."""
    text = printed(result(row("full", status="error", reason="KeyError: [red]x[/red]")), title="[bold]model")
    assert text.startswith("[bold]model") and "KeyError: [red]x[/red]" in text


@pytest.mark.parametrize("status", ["oom", "error"])
def test_a_row_that_was_not_timed_does_not_say_never(status: str) -> None:
    """Setup never earned back is a finding; where no step was timed there is none."""
    failed = row("sparsegrad-sd", status=status, reason="x", calibration_s=12.0, convert_s=0.5)
    line = next(line for line in printed(result(failed)).splitlines() if line.startswith("│sparsegrad-sd"))
    assert "12.5 s" in line and "never" not in line


def test_setup_that_noise_hides_does_not_say_never() -> None:
    level = {**SD, "verdict": "~", "break_even_steps": None, "ratio_to_full": between(1.02, 0.97, 1.07)}
    slower = {**SD, "verdict": "slower", "break_even_steps": None, "ratio_to_full": between(0.8, 0.7, 0.9)}
    lines = [line for line in printed(result(level, slower)).splitlines() if line.startswith("│sparsegrad-sd")]
    assert "never" not in lines[0] and "never" in lines[1]


def test_a_pair_inside_the_aa_noise_is_marked() -> None:
    """Nothing is called faster inside the A/A noise, in a footnote neither."""
    pair = {
        "method": "sparsegrad-sd",
        "over": "sparsegrad-regular",
        "speed_ratio": between(1.05, 0.95, 1.15),
        "peak_ratio": 1.0,
        "largest_loss_difference": 0.0,
        "steps": 8,
    }
    text = printed(result(FULL, SD, aa=between(1.0, 0.9, 1.1), pairs=[pair]))
    assert "sparsegrad-sd over sparsegrad-regular: ~ 1.05x [0.95, 1.15]" in text


def test_a_failed_calibration_says_why() -> None:
    """The rows that needed it say that it failed; somewhere the table has to say of what."""
    lost = {name: None for name in CALIBRATION} | {
        "methods": ["sparsegrad-compact"],
        "status": "oom",
        "reason": "MemoryError: 3 GiB",
    }
    failed = row("sparsegrad-sd", status="error", reason="RuntimeError: no bases: calibration failed")
    text = printed(result(FULL, failed, calibrations=[CALIBRATION, lost]))
    assert (
        "calibration of sparsegrad-compact: oom: MemoryError: 3 GiB" in text
        and "calibration of sparsegrad-sd, sparsegrad-planned: 12.0 s" in text
    )


def test_a_calibration_on_a_busy_machine_is_told_as_that() -> None:
    text = printed(result(FULL, SD, calibrations=[{**CALIBRATION, "distrust": "the clock fell"}]))
    assert (
        "12.0 s for 30 batches, timed once, peak 500 MiB. Not to be trusted: the clock fell; --fresh times it again.\n"
        in f"{text}\n"
    )


def test_only_a_cuda_instrument_is_printed_as_one() -> None:
    assert [line for line in printed(result(FULL)).splitlines() if "CUDA" in line or "cuda" in line] == [
        "peak: tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size), each method in "
        "a fresh process."
    ]
    on_gpu = {**FULL, "peak_instrument": "cuda max_memory_allocated"}
    assert "peak: cuda max_memory_allocated, each method in a fresh process." in printed(result(on_gpu))


def test_many_steps_a_second_are_a_plain_number() -> None:
    text = printed(result({**FULL, **timed(0.4), "samples_ms": [0.4]}))
    assert "e+" not in text


def test_a_failed_aa_pair_is_told() -> None:
    """Without it nothing tells a difference from noise, and the table says why it is missing."""
    lost = {"status": "oom", "reason": "OutOfMemoryError: x", "mean": None, "low": None, "high": None, "rounds": 0}
    text = printed(result(FULL, aa=lost))
    assert "A/A: oom: OutOfMemoryError: x; without it no difference is told from noise (~)." in text


def test_hashed_words_are_told() -> None:
    text = printed(result(FULL, workload={"tokenizer": "stand-in (hashed words)"}))
    assert "tokens: stand-in (hashed words)" in text
