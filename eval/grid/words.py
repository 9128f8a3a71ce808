"""The grid's command line, and the same words in a TOML file."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.cli import Parser, add_run_words
from bench.environment import rerun_command
from bench.errors import BadRequest
from eval.synthetic import ENCODER, SYNTHETIC
from eval.words import add_budget_words, add_protocol_words, add_text_words, default_methods
from sparsegrad.methods import METHODS

__all__ = ["PROG", "glue_command", "parse"]

PROG = "eval.grid"
# Words of the command, which a file of the grid does not hold.
_NOT_IN_FILE = ("file", "only", "dry_run", "json", "quiet", "fresh")
# Words that say where the cells run; the rest says which they are, and eval.glue knows them too.
_WHERE = (*_NOT_IN_FILE, "ray", "workers", "cpus", "gpus", "memory_gib", "retries")


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Fine-tune every model on every task with each method, seed and number of kept entries: the runs of\n"
            "eval.glue, with the same keys, on this machine or as Ray tasks. A run that fails is a record with its\n"
            "error, and the others go on; the same command goes on where it stopped. The grid may lie in a TOML file,\n"
            "with the options below as keys (underscores for hyphens, lists for several values):\n\n"
            '    model = ["bert-base", "roberta-base"]\n'
            '    task = ["cola", "rte"]\n'
            '    methods = ["full", "lora", "sparsegrad-planned"]\n'
            "    kept = [0.01, 0.05]\n"
            "    seeds = 3\n"
            '    protocol = "paper"'
        ),
        example="python -m eval.grid --file grid.toml --ray local --workers 4 --out /shared/results",
    )
    made.add_argument("--file", type=Path, metavar="TOML", help="the grid; words of the command line go before it")
    add_text_words(made, task=[SYNTHETIC.name], model=ENCODER, several=True)
    names = [name for name, method in METHODS.items() if method.trains]
    group = made.add_argument_group("methods")
    group.add_argument("--methods", nargs="+", default=default_methods(), metavar="NAME", help="any of "
                       f"{' '.join(names)} (default: {' '.join(default_methods())})")  # fmt: skip
    group.add_argument("--reference", metavar="NAME", help="of eval.glue's comparison (default: full if it is there, "
                       "else the first)")  # fmt: skip
    group.add_argument("--kept", nargs="+", default=["0.01"], metavar="K", help="entries of each layer's gradient kept "
                       "a step: counts (22000, 22k) or shares (0.01, 1%%) (default: 0.01)")  # fmt: skip
    group.add_argument("--lora-rank", type=int, metavar="R", help="of LoRA and its kin (default: the paper's "
                       "for the preset, else 7)")  # fmt: skip
    group.add_argument("--budget", choices=("params", "bytes"), help="equal ranks, as eval.glue (default: --lora-rank)")
    add_budget_words(group)
    add_protocol_words(made)
    add_run_words(made)
    _add_place_words(made)
    return made


def _add_place_words(made: Parser) -> None:
    group = made.add_argument_group("where")
    group.add_argument("--workers", type=int, metavar="N", help="cells at a time (default: 1; with --ray ADDRESS 64, "
                       "as far as the cluster holds them)")  # fmt: skip
    group.add_argument("--only", nargs="+", metavar="KEY", help="just the cells whose keys begin so, from a listing")
    group.add_argument("--ray", metavar="ADDRESS", help="run cells as Ray tasks: local starts Ray here, an address or "
                       "auto joins a cluster, where paths (--out, --data-dir, a local --model) have to mean the same "
                       "folders on every machine, --out on a file system with locks across machines (NFS 4 has them); "
                       "needs pip install 'sparsegrad[scale]' (default: no Ray)")  # fmt: skip
    group.add_argument("--cpus", type=int, metavar="N", help="cores a cell, with --ray (default: local, this "
                       "machine's over --workers; else 1)")  # fmt: skip
    group.add_argument("--gpus", type=float, metavar="X", help="GPUs a cell, with --ray; 0.5 lets two share one "
                       "(default: 1 where --device is cuda, else 0)")  # fmt: skip
    group.add_argument("--memory-gib", type=float, metavar="X", help="GiB of host memory a cell, with --ray (default: "
                       "2, and 16 bytes a parameter: weights, gradients, Adam)")  # fmt: skip
    group.add_argument("--retries", type=int, metavar="N", help="times a cell is begun again elsewhere when its Ray "
                       "worker is lost, with --ray (default: 3)")  # fmt: skip


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The words of the file, then those of the command line; BadRequest for what neither may hold."""
    file = parser().parse_args(argv).file
    return parser().parse_args([*(() if file is None else _words_in(file)), *argv])


def _words_in(path: Path) -> list[str]:
    """The file's keys as options."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"--file {path}: {error.strerror}; give a TOML file, see --help for one") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise BadRequest(f"--file {path}: {error}; see --help for an example") from None
    known = {name: default for name, default in vars(parser().parse_args([])).items() if name not in _NOT_IN_FILE}
    words: list[str] = []
    for key, value in told.items():
        name = key.replace("-", "_")
        if name not in known:
            raise BadRequest(f"--file {path}: unknown key {key!r}; give any of {', '.join(sorted(known))}")
        values = value if isinstance(value, list) else [value]
        flag = isinstance(known[name], bool)
        if not values or any(isinstance(one, dict | list) or isinstance(one, bool) is not flag for one in values):
            wanted = "true or false" if flag else "a string or a number, or several in a list"
            raise BadRequest(f"--file {path}: {key} = {value!r}: give {wanted}")
        if not flag:
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
        elif value:
            words.append(f"--{name.replace('_', '-')}")
    return words


def glue_command(args: argparse.Namespace, model: str, kept: str) -> str:
    """The line that compares what the grid has run of a model: it finds the records and trains nothing."""
    defaults = vars(parser().parse_args([]))
    asked = {**vars(args), "model": model, "kept": kept}
    words: list[str] = []
    for name, value in asked.items():
        if name in _WHERE or (name != "model" and name != "task" and value == defaults[name]):
            continue
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is True else list(map(str, _listed(value)))
    return rerun_command("eval.glue", words)


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]
