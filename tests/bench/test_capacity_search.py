"""The search: its answer fits, the next does not, whatever the shape of the peak, and in few probes."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.capacity.budget import parse_budget
from bench.capacity.search import Probe, largest
from bench.errors import BadRequest

BUDGET = 10_000_000


def peaks(law: Callable[[int], float], *, told: bool = True) -> Callable[[int], Probe]:
    """A probe of that law; where not ``told``, a misfit's bytes are unknown, as when memory runs out."""

    def probe(size: int) -> Probe:
        nbytes = round(law(size))
        fits = nbytes <= BUDGET
        return Probe(size=size, fits=fits, peak_bytes=nbytes if fits or told else None)

    return probe


LAWS: dict[str, Callable[[int], float]] = {
    "linear": lambda n: 500_000 + 1_234 * n,
    "quadratic": lambda n: 500_000 + 3 * n * n,
    "root": lambda n: 100_000 * math.sqrt(n),
    "steps": lambda n: 500_000 + 1_000_000 * (n // 64),
    "cliff": lambda n: 1_000 + n + (BUDGET if n > 777 else 0),
    "constant, then over": lambda n: 5 if n < 3_000 else BUDGET + 1,
}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_the_largest_fits_and_the_next_does_not(law: str, told: bool) -> None:
    found = largest(peaks(LAWS[law], told=told), BUDGET, least=1, most=1_000_000)
    assert found.size is not None and not found.at_limit
    assert LAWS[law](found.size) <= BUDGET < LAWS[law](found.size + 1)
    tried = {probe.size: probe.fits for probe in found.probes}
    assert tried[found.size] and not tried[found.size + 1], "both were tried, neither was reckoned"
    assert len(tried) == len(found.probes), "no size is tried twice"
    assert len(found.probes) <= 2 * (1 + 2 * math.log2(found.size))


def test_a_line_is_found_in_four_probes() -> None:
    """The least, twice that, where they point to, and one more."""
    found = largest(peaks(LAWS["linear"]), BUDGET, least=1, most=1_000_000)
    assert [probe.size for probe in found.probes] == [1, 2, 7698, 7699]


@given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 400), st.booleans(), st.randoms(use_true_random=False))
def test_any_monotone_peak(answer: int, least: int, span: int, told: bool, random: object) -> None:
    """Bytes that grow by anything at all from size to size."""
    most = least + span
    steps = [random.randint(0, 10_000) for _ in range(most + 2)]  # type: ignore[attr-defined]

    def law(size: int) -> float:
        return sum(steps[:size]) + (0 if size <= answer else BUDGET + 1)

    found = largest(peaks(law, told=told), BUDGET, least=least, most=most)
    assert found.size == (None if answer < least else min(answer, most))
    assert found.at_limit == (answer >= most)
    assert all(least <= probe.size <= most for probe in found.probes)


def test_where_nothing_fits_one_probe_tells() -> None:
    found = largest(peaks(lambda n: BUDGET + n), BUDGET, least=4, most=512)
    assert found.size is None and not found.at_limit and [probe.size for probe in found.probes] == [4]


def test_a_limit_that_fits_ends_the_search() -> None:
    found = largest(peaks(lambda n: n), BUDGET, least=4, most=512)
    assert found.size == 512 and found.at_limit and len(found.probes) <= 3


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("24GiB", 24 * 2**30), ("512 MiB", 512 * 2**20), ("80GB", 80 * 10**9), ("1.5gib", 3 * 2**29), ("100B", 100)],
)
def test_sizes_are_read(text: str, nbytes: int) -> None:
    assert parse_budget(text) == nbytes


@pytest.mark.parametrize("text", ["24", "GiB", "-1GiB", "0GiB", "24XiB", "nanGiB", "1e400GiB", "", "24 GiB more"])
def test_what_is_no_size_is_told_in_a_line(text: str) -> None:
    with pytest.raises(BadRequest, match="24GiB, 512MiB or 80GB"):
        parse_budget(text)
