"""How a command is read and how it ends: one line and 2 for a wrong request, never a traceback."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.cli import Parser, add_method_words, add_model_words, add_run_words, progress_bar, run, say
from bench.errors import BadRequest
from bench.speed import parser as speed_parser
from sparsegrad.errors import SparseGradError
from sparsegrad.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def words() -> Parser:
    made = Parser(prog="bench.test", description="What it does.", example="python -m bench.test --quiet")
    add_model_words(made)
    add_method_words(made)
    add_run_words(made)
    return made


def raising(error: BaseException) -> Callable[[Sequence[str]], int]:
    def main(_argv: Sequence[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_is_mains(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--one", "two"])
    heard: list[Sequence[str]] = []

    def main(argv: Sequence[str]) -> int:
        heard.append(list(argv))
        return code

    with pytest.raises(SystemExit) as ended:
        run(main, "bench.test")
    assert ended.value.code == code and heard == [["--one", "two"]]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BadRequest("--kept 0: give more"), 2, "bench.test: --kept 0: give more\n"),
        (SparseGradError("no MLP linears found"), 2, "bench.test: no MLP linears found\n"),
        (KeyboardInterrupt(), 130, "bench.test: interrupted; the same command goes on where it stopped\n"),
        (OSError(28, "No space left on device"), 1, "bench.test: [Errno 28] No space left on device\n"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nmore"),
            1,
            "bench.test: out of memory before anything was measured or between two cells: RuntimeError: "
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\n",
        ),
    ],
)
def test_how_a_command_ends(error: BaseException, code: int, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(raising(error), "bench.test")
    assert ended.value.code == code
    assert capfd.readouterr() == ("", text)


@pytest.mark.parametrize("mistake", [ZeroDivisionError, RuntimeError])
def test_our_own_mistakes_keep_their_traceback(mistake: type[Exception]) -> None:
    with pytest.raises(mistake):
        run(raising(mistake()), "bench.test")


@pytest.mark.parametrize("printing", ["print", "rich.console.Console().print"])
def test_a_pipe_that_closes_is_no_error(printing: str) -> None:
    code = (
        "import rich.console\n"
        "from bench.cli import run\n"
        "def main(argv):\n"
        f"    for _ in range(20_000): {printing}('a line of some length')\n"
        "    return 0\n"
        "run(main, 'bench.test')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "a line of some length\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["--bogus"],
        ["extra"],
        ["--seed", "text"],
        ["--dtype", "fp8"],
        ["--padding", "none"],
        ["--methods"],
        ["--batch", "4"],
        ["--batch-size", "4.5"],
        ["--out", ""],
        ["--out="],
    ],
    ids=" ".join,
)
def test_argparses_errors_are_one_line(argv: list[str], words: Parser, capfd: pytest.CaptureFixture[str]) -> None:
    """Abbreviations are errors too: what they stand for changes as options are added."""
    with pytest.raises(BadRequest, match=r"--help$") as caught:
        words.parse_args(argv)
    assert "\n" not in str(caught.value) and argv[0].removesuffix("=") in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_help_shows_every_default_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        speed_parser().parse_args(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "example: python -m bench.speed" in text
    for action in speed_parser()._actions:
        if action.option_strings and action.nargs != 0:
            assert action.help is not None and "default" in action.help, action.option_strings
            if isinstance(action.default, str | int | float):
                assert str(action.default) in action.help % vars(action), action.option_strings
    assert all(method.summary in text for method in METHODS.values())


def test_the_helps_example_can_be_typed() -> None:
    line = speed_parser().epilog
    assert line is not None
    argv = line.removeprefix("example: python -m bench.speed ").split()
    assert argv != line.split(), "the prefix was there"
    speed_parser().parse_args(argv)


def test_quiet_and_no_terminal_mean_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet in (True, False):
        with progress_bar(quiet=quiet) as progress:
            progress.advance(progress.add_task("x", total=2))
    say("heard", quiet=True)
    assert capfd.readouterr() == ("", "")
    say("heard")
    assert capfd.readouterr() == ("", "heard\n")
