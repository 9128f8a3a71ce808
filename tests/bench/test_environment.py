"""The environment tells the machine and the code, and nothing of the person."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import environment as module
from bench.environment import code_fingerprint, environment, identity, rerun_command


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git checkout with one committed package, and a function that runs git in it."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def git(*words):
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", *who, *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("one = 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path / "package", git


def test_environment_is_strict_json_and_names_the_machine():
    here = environment("cpu")
    assert json.loads(json.dumps(here, allow_nan=False)) == here
    assert here["host"] and here["cpu"]
    assert here["device"] == "cpu" and here["gpu"] is None
    assert here["threads"] == torch.get_num_threads()
    assert here["logical_cores"] == os.cpu_count()
    assert here["physical_cores"] is None or 1 <= here["physical_cores"] <= here["logical_cores"]
    assert here["memory_bytes"] > 2**28
    assert here["python"] == ".".join(map(str, sys.version_info[:3]))
    assert here["libraries"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_environment_tells_no_paths_and_no_tokens(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_a_token_that_must_stay_here")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-that-must-stay-here")
    text = json.dumps(environment("cpu"))
    for private in ("must_stay_here", "must-stay-here", str(Path.home()), str(Path.cwd()), sys.prefix):
        assert private not in text


def test_absent_library_is_null(monkeypatch):
    monkeypatch.setattr(module, "LIBRARIES", ("torch", "no-such-library-anywhere"))
    libraries = environment("cpu")["libraries"]
    assert libraries["torch"] and libraries["no-such-library-anywhere"] is None


def test_switches_are_as_they_are_set(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    switches = environment("cpu")["switches"]
    assert switches["NVIDIA_TF32_OVERRIDE"] == "0" and switches["MKL_NUM_THREADS"] is None


def test_libraries_are_not_loaded_to_ask_their_versions():
    script = "from bench.environment import *; import sys; environment('cpu')"
    heavy = "{'transformers', 'peft', 'tensorly', 'scipy'}"
    command = [sys.executable, "-c", f"{script}; assert not {heavy} & sys.modules.keys()"]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)


# git


def test_git_commit_and_dirty(repository):
    folder, git = repository
    commit = git("rev-parse", "HEAD").strip()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert module._git_state(folder) == (commit, False)
    (folder / "results.json").write_text("{}")
    assert module._git_state(folder) == (commit, False)
    (folder / "code.py").write_text("one = 2\n")
    assert module._git_state(folder) == (commit, True)
    git("checkout", "-q", ".")
    assert module._git_state(folder) == (commit, False)
    (folder.parent / "new.py").write_text("")
    assert module._git_state(folder) == (commit, True)


def test_a_package_installed_inside_another_checkout_has_no_commit(repository):
    folder, _ = repository
    installed = folder.parent / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("")
    assert module._git_state(installed) == (None, None)


def test_the_index_is_not_written(repository):
    """Of a file with another time and the same content git would note the time, under its lock."""
    folder, _ = repository
    index = folder.parent / ".git" / "index"
    before = index.read_bytes()
    for path in folder.rglob("*.py"):
        os.utime(path, (10**9, 10**9))
    assert module._git_state(folder)[1] is False
    assert index.read_bytes() == before


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert module._git_state(repository[0]) == (None, None)


# The GPU's tool


def fake_nvidia_smi(folder, script, monkeypatch):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_driver_and_clocks_are_read_of_the_gpu_with_that_uuid(tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, 'test "$4" = GPU-7 && echo "550.54.15, 345, 2619, 1980, [N/A]"', monkeypatch)
    assert module._driver_and_clocks("GPU-7") == {
        "driver": "550.54.15",
        "clocks": {"sm_mhz": 345, "memory_mhz": 2619, "sm_max_mhz": 1980, "memory_max_mhz": None},
    }


@pytest.mark.parametrize("script", ["echo no devices; exit 6", "echo"])
def test_driver_and_clocks_that_cannot_be_read_are_none(script, tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, script, monkeypatch)
    driver_and_clocks = module._driver_and_clocks("GPU-7")
    assert driver_and_clocks["driver"] is None
    assert set(driver_and_clocks["clocks"].values()) == {None}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_is_named():
    gpu = environment("cuda")["gpu"]
    assert gpu["name"] == torch.cuda.get_device_name()
    assert gpu["driver"] is None or re.fullmatch(r"[\d.]+", gpu["driver"])


# The part that goes into the key

GPU = {"name": "H200", "capability": "9.0", "memory_bytes": 1, "driver": "550", "clocks": {"sm_mhz": 1980}}


def changed(here, *path):
    other = copy.deepcopy(here)
    inner = other
    for name in path[:-1]:
        inner = inner[name]
    assert path[-1] in inner
    inner[path[-1]] = "another"
    return other


@pytest.mark.parametrize(
    "path",
    [
        ("host",),
        ("device",),
        ("cpu",),
        ("threads",),
        ("python",),
        ("libraries", "torch"),
        ("switches", "NVIDIA_TF32_OVERRIDE"),
        ("gpu", "name"),
        ("gpu", "driver"),
    ],
    ids=".".join,
)
def test_identity_changes_with(path):
    here = environment("cpu") | {"gpu": GPU}
    assert identity(changed(here, *path)) != identity(here)


@pytest.mark.parametrize("path", [("gpu", "clocks"), ("git_commit",), ("git_dirty",)], ids=".".join)
def test_identity_stays_with(path):
    here = environment("cpu") | {"gpu": GPU}
    assert identity(changed(here, *path)) == identity(here)


def test_identity_without_a_gpu():
    assert identity(environment("cpu"))["gpu"] is None


# The code


def test_fingerprint_changes_with_code_and_with_nothing_else(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "fingerprinted"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "code.py").write_text("one = 1\n")
    before = code_fingerprint("fingerprinted")
    assert re.fullmatch("[0-9a-f]{64}", before)
    (package / "README.md").write_text("words")
    assert code_fingerprint("fingerprinted") == before
    (package / "inner" / "code.py").write_text("one = 2\n")
    edited = code_fingerprint("fingerprinted")
    (package / "inner" / "code.py").rename(package / "inner" / "renamed.py")
    renamed = code_fingerprint("fingerprinted")
    (package / "new.py").write_text("")
    added = code_fingerprint("fingerprinted")
    assert len({before, edited, renamed, added}) == 4


def test_fingerprint_is_of_sparsegrad_and_bench_unless_told():
    assert code_fingerprint() == code_fingerprint("bench", "sparsegrad")
    assert len({code_fingerprint(), code_fingerprint("bench"), code_fingerprint("sparsegrad")}) == 3


@pytest.mark.parametrize("name", ["no_such_package_anywhere", "shlex"])
def test_fingerprint_of_no_package_is_an_error(name):
    with pytest.raises(ValueError, match=name):
        code_fingerprint(name)


# The command


def test_rerun_command_is_read_back_by_a_shell():
    argv = ["--model", "a folder/it's", "--kept", "0.01", "--out", "$HOME;ls"]
    command = rerun_command("bench.speed", argv)
    assert shlex.split(command) == ["python", "-m", "bench.speed", *argv]
    script = f"printf '%s\\n' {command}"
    echoed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert echoed.stdout.splitlines() == ["python", "-m", "bench.speed", *argv]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--api-key", "s3cret", "--json"], "--api-key REDACTED --json"),
        (["--api-key=s3cret", "--json"], "--api-key=REDACTED --json"),
        (["--API_KEY=s3cret"], "--API_KEY=REDACTED"),
        (["--hf-token", "s3cret"], "--hf-token REDACTED"),
        (["--judge-secret", "s3cret"], "--judge-secret REDACTED"),
        (["--password", "s3cret"], "--password REDACTED"),
        (["--api-k", "sk-0123456789abcdef"], "--api-k REDACTED"),  # argparse takes shortened names
        (["--model", "hf_0123456789abcdef"], "--model REDACTED"),
        (["--use-token", "--json"], "--use-token --json"),
        (["--tokenizer", "bert", "--max-new-tokens", "5"], "--tokenizer bert --max-new-tokens 5"),
        (["--model", "task-specific-distilled-bert"], "--model task-specific-distilled-bert"),
        (["--keys", "all", "--monkey", "x"], "--keys all --monkey x"),
    ],
)
def test_rerun_command_keeps_no_secret_and_all_else(argv, expected):
    assert rerun_command("eval.mtbench", argv) == f"python -m eval.mtbench {expected}"
