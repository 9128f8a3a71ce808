"""What may be asked, and what a wrong word is told."""

from __future__ import annotations

import pytest

from bench.errors import BadRequest
from bench.gradients.protocol import Protocol, cores_of, default_block
from tests.bench.small_models import make


def test_readings_are_the_steps_that_the_interval_divides() -> None:
    assert Protocol(steps=90, read_every=10, block=5).readings == list(range(10, 91, 10))
    assert Protocol(steps=3, read_every=2, block=0).readings == [2]


@pytest.mark.parametrize(("steps", "every"), [(0, 1), (5, 0), (5, 6)])
def test_a_run_that_reads_nothing_is_refused(steps: int, every: int) -> None:
    with pytest.raises(BadRequest, match="--read-every"):
        Protocol(steps=steps, read_every=every, block=0)


def test_cores_end_with_the_whole_matrix() -> None:
    assert cores_of(16, 32) == [(16, 16), (16, 32)]
    assert cores_of(384, 1536)[-2:] == [(384, 1024), (384, 1536)]
    assert cores_of(8, 8) == [(8, 8)]


def test_the_drawn_block_is_the_papers_or_the_last_before_it(speed_model) -> None:
    outline = make(model=str(speed_model), random_weights=True).outline()
    assert default_block(None, outline, targets=None, every=1) == 1
    assert default_block(0, outline, targets=None, every=1) == 0
    with pytest.raises(BadRequest, match=r"--block 7.*give one of 0, 1"):
        default_block(7, outline, targets=None, every=1)
