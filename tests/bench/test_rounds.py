"""The counts of a comparison: one word each in every command that takes turns, refused below 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import bench.crossover.__main__
import bench.sparsity.__main__
import bench.speed
from bench.cli import Parser
from bench.errors import BadRequest
from bench.rounds import rounds_of

COMMANDS = {"speed": bench.speed, "sparsity": bench.sparsity.__main__, "crossover": bench.crossover.__main__}


@pytest.mark.parametrize("word", ["rounds", "steps", "warmup"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_count_below_one_is_refused_in_every_command(command: str, word: str, tmp_path: Path) -> None:
    main: Callable[[Sequence[str]], int] = COMMANDS[command].main
    with pytest.raises(BadRequest, match=f"--{word} 0 is too small; give 1 or more"):
        main([f"--{word}", "0", "--out", str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "counts"), [("speed", (10, 2, 2)), ("sparsity", (6, 2, 2)), ("crossover", (6, 1, 1))]
)
def test_each_command_has_its_own_defaults(command: str, counts: tuple[int, int, int]) -> None:
    parser: Parser = COMMANDS[command].parser()
    assert tuple(rounds_of(parser.parse_args([])).values()) == counts
