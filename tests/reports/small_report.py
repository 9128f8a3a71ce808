"""A report with one of everything, made by hand: what the page's tests render, hostile or not."""

from __future__ import annotations

from collections.abc import Callable

from reports.document import (
    Cell,
    CellStatus,
    Certainty,
    Claim,
    Code,
    Column,
    Detail,
    Document,
    Figure,
    Ledger,
    Prose,
    Run,
    Samples,
    Section,
    Table,
    Verdict,
)
from reports.figures.curves import Line, curves
from reports.figures.intervals import Compared, quality_differences, speed_ratios
from reports.figures.marks import Axis, Estimate
from reports.figures.memory import Bar, memory_by_category, memory_by_phase
from reports.figures.pareto import Point, pareto

SPEEDS = {
    "full": (2.45, 1.0, 279.0, 90.8),
    "lora": (2.54, 1.04, 231.0, 90.5),
    "meprop": (3.28, 1.34, 279.0, 89.9),
    "sparsegrad-regular": (0.908, 0.37, 306.0, 90.2),
    "sparsegrad-sd": (1.46, 0.60, 304.0, 90.2),
    "sparsegrad-planned": (2.42, 0.99, 299.0, 90.2),
    "sparsegrad-compact": (2.81, 1.15, 212.0, 90.1),
    "frozen": (3.15, 1.28, 197.0, 81.3),
}
TIED = {"full", "lora", "sparsegrad-planned"}
RUN = "small/speed/0123456789abcdef"


def same(text: str) -> str:
    """A string as it is."""
    return text


def small_report(say: Callable[[str], str] = same, *, drawn: bool = True) -> Document:
    """The report, every string of it passed through ``say``, but for ids; its figures take most of the time."""
    run = Run(
        id=RUN,
        kind=say("speed"),
        status="ok",
        reason=None,
        command=say("python -m bench.speed --model minilm-l6 --random-weights --rounds 10"),
        seed=0,
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:09:05+00:00",
        environment=((say("host"), say("small")), ("cpu", say("Some CPU, 2 threads"))),
        config=((say("model"), say("minilm-l6")),),
        fingerprints=(("code", say("cafe" * 16)),),
    )
    sections = (
        Section(id="ledger", title=say("The paper's claims"), blocks=(_ledger(say),)),
        Section(
            id="speed",
            title=say("Speed"),
            blocks=(
                Prose(text=say("Interleaved rounds on one machine; ratios are paired by round.")),
                Prose(text=say("Rows of different machines are never compared."), warning=True),
                Code(text=say("python -m bench.speed --json")),
                _table(say),
                *((_speed(say), _phases(say)) if drawn else ()),
            ),
        ),
        Section(id="quality", title=say("Quality"), blocks=_quality(say) if drawn else ()),
    )
    return Document(
        title=say("SparseGrad: what was measured"),
        subtitle=say("10 records of one machine, January 2026"),
        made_from=((say("folder"), say("results")), ("records", "10")),
        sections=sections,
        runs=(run,),
    )


def _detail(say: Callable[[str], str], name: str) -> Detail:
    step = 1e3 / SPEEDS[name][0]
    values = tuple(step * (1 + 0.01 * ((7 * place) % 10 - 4.5)) for place in range(10))
    samples = Samples(name=say(f"{name}: time of a step"), unit=say("ms"), values=values)
    return Detail(runs=(RUN,), samples=(samples,), note=say("Geometric mean of the paired ratios."))


def _table(say: Callable[[str], str]) -> Table:
    rows = []
    for name, (rate, ratio, peak, _) in SPEEDS.items():
        status = CellStatus.NOISE if name in TIED - {"full"} else CellStatus.OK
        detail = _detail(say, name)
        rows.append(
            (
                Cell(text=say(name)),
                Cell(text=f"{rate:.3g}", sort=rate, detail=detail),
                Cell(
                    text=f"{ratio:.2f}",
                    sort=ratio,
                    interval=f"[{ratio - 0.03:.2f}, {ratio + 0.03:.2f}]",
                    status=status,
                    detail=detail,
                ),
                Cell(text=f"{peak:.0f}", sort=peak),
            )
        )
    failed = Cell(text="", status=CellStatus.FAILED, reason=say("out of memory"))
    elsewhere = Cell(text="812", sort=812.0, status=CellStatus.INCOMPARABLE, reason=say("another machine"))
    rows.append((Cell(text=say("too-large")), failed, Cell(text="", status=CellStatus.NOT_MEASURED), elsewhere))
    columns = (
        Column(name=say("method")),
        Column(name=say("speed"), unit=say("steps/s"), numeric=True, note=say("higher is better")),
        Column(name=say("speed over full"), unit="x", numeric=True),
        Column(name=say("peak"), unit="MiB", numeric=True),
    )
    return Table(
        id="speed-table", title=say("Speed and memory"), columns=columns, rows=tuple(rows), notes=(say("n = 10."),)
    )


def _speed(say: Callable[[str], str]) -> Figure:
    rows = [
        Compared(name=say(name), estimate=Estimate(value=r, low=r - 0.04, high=r + 0.04), tied=name in TIED)
        for name, (_, r, _, _) in SPEEDS.items()
        if name != "full"
    ]
    noise = Estimate(value=1.01, low=0.98, high=1.05)
    return speed_ratios("speed-figure", say("Speed beside full"), rows, reference=say("full"), rounds=10, noise=noise)


def _phases(say: Callable[[str], str]) -> Figure:
    bars = [
        Bar(
            name=say(name),
            parts_bytes={say("forward"): int(peak * 0.9) << 20, "backward": int(peak) << 20, "optimizer": 99 << 20},
        )
        for name, (_, _, peak, _) in SPEEDS.items()
    ]
    return memory_by_phase("phase-figure", say("Peak by phase"), bars, instrument=say("tracked"))


def _quality(say: Callable[[str], str]) -> tuple[Figure, ...]:
    rows = [
        Compared(name=say(name), estimate=Estimate(value=(q - 90.8) / 100, low=-0.11, high=0.012), tied=q > 85)
        for name, (_, _, _, q) in SPEEDS.items()
        if name != "full"
    ]
    points = [
        Point(
            name=say(name),
            cost=Estimate(value=peak),
            quality=Estimate(value=q, low=q - 0.8, high=q + 0.8),
        )
        for name, (_, _, peak, q) in SPEEDS.items()
    ]
    bars = [
        Bar(
            name=say(name),
            parts_bytes={"weights": 90 << 20, say("gradients"): 27 << 20, "optimizer_state": int(peak - 180) << 20},
        )
        for name, (_, _, peak, _) in SPEEDS.items()
    ]
    shares = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    lines = [
        Line(
            name=say(name),
            at=shares,
            values=tuple(Estimate(value=v, low=v - 0.03, high=v + 0.03) for v in (share**power for share in shares)),
        )
        for name, power in (("rotated", 0.15), ("as it is", 0.4))
    ]
    return (
        quality_differences(
            "quality-figure", say("SST-2"), rows, metric=say("accuracy"), reference=say("full"), seeds=3, margin=0.01
        ),
        pareto(
            "pareto-figure",
            say("Quality against memory"),
            points,
            cost=Axis(name=say("peak memory"), unit=say("MiB"), higher_is_better=False),
            quality=Axis(name=say("accuracy"), unit="%", higher_is_better=True, note=say("95% CI, n = 3 seeds")),
        ),
        memory_by_category("memory-figure", say("What memory consists of"), bars, instrument=say("tracked")),
        curves(
            "energy-figure",
            say("Gradient energy"),
            lines,
            across=Axis(name=say("share of entries kept"), log=True),
            upward=Axis(name="share of energy", higher_is_better=True, note=say("n = 12 layers")),
        ),
    )


def _ledger(say: Callable[[str], str]) -> Ledger:
    shared = {"sentence": say("SparseGrad needs less memory than full fine-tuning on every model."), "why": say("")}
    told = [
        (
            Verdict.REPRODUCED,
            Certainty.CERTAIN,
            (Cell(text="1.61", interval="[1.58, 1.64]", detail=_detail(say, "lora")),),
        ),
        (Verdict.NOT_REPRODUCED, Certainty.CERTAIN, (Cell(text="1.10", reason=say("minilm-l6, tracked")),) * 2),
        (Verdict.WITHIN_NOISE, Certainty.CERTAIN, (Cell(text="0.3", status=CellStatus.NOISE),)),
        (Verdict.NOT_TESTED, Certainty.SCANS_DISAGREE, ()),
        (Verdict.NO_VERDICT, Certainty.UNCERTAIN, (Cell(text="12", reason=say("counted")),)),
    ]
    claims = tuple(
        Claim(
            id=say(f"C{number}"),
            place=say("Table 4"),
            published=say("20% less"),
            certainty=certainty,
            tolerance=say("within 5%"),
            measured=measured,
            verdict=verdict,
            takes=say("python -m bench.memory --device cuda") if verdict is Verdict.NOT_TESTED else None,
            **shared,
        )
        for number, (verdict, certainty, measured) in zip((1, 2, 3, 4, 10), told, strict=True)
    )
    return Ledger(title=say("The claims, one by one"), claims=claims)
