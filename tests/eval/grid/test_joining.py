"""A cluster that cannot be joined: one line each, at once, and nothing is run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.errors import BadRequest
from eval.grid.__main__ import main
from eval.grid.cluster import _refusal

pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[3]
Words = Callable[..., list[str]]


@pytest.fixture
def port() -> Iterator[int]:
    """Of this machine: somebody listens there, who is no cluster."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}"])
def test_where_nobody_listens_it_is_said_at_once(words: Words, form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = form.format(listener.getsockname()[1])
    with pytest.raises(BadRequest) as refused:
        main(words("--ray", address))
    assert str(refused.value).startswith(f"--ray {address}: [Errno ")
    assert str(refused.value).endswith("; give local, or the address of a cluster (ray start)")


def test_a_machine_of_no_such_name(words: Words) -> None:
    with pytest.raises(BadRequest, match=r"--ray nowhere\.invalid:6379: .*; give local, or the address of a cluster"):
        main(words("--ray", "nowhere.invalid:6379"))


JOIN = """
import sys
from bench.errors import BadRequest
from eval.grid.cluster import Needs, joined
try:
    with joined(sys.argv[1], cells=1, needs=Needs(cpus=1, gpus=0.0, memory_bytes=None, retries=0)):
        pass
except BadRequest as error:
    print(error)
"""


@pytest.mark.slow
def test_a_cluster_that_wants_a_token(port: int, tmp_path: Path) -> None:
    """In a process of its own: Ray reads once where its token is."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    command = [sys.executable, "-c", JOIN, f"127.0.0.1:{port}"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280).stdout
    assert said == (
        f"--ray 127.0.0.1:{port}: Token authentication is enabled but no authentication token was found; give the "
        "cluster's token as Ray reads it, in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH\n"
    )


def test_another_version_of_ray_is_told_with_both() -> None:
    """In the words of Ray 2.60, which take six lines."""
    said = "Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.12.1\n"
    said += "This process on 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.9\n"
    line = _refusal(RuntimeError(said))
    assert "\n" not in line and "Ray: 2.50.0" in line and "Ray: 2.60.0" in line
    assert line.endswith("; install the cluster's versions here, or these there")


def test_rays_traceback_is_left_out() -> None:
    said = "Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n  File"
    assert (
        _refusal(RuntimeError(said)) == "Failed to connect to GCS; give local, or the address of a cluster (ray start)"
    )


def test_a_wrong_token_is_seen_in_what_the_error_came_of() -> None:
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError("... last_ex: ray.exceptions.AuthenticationError: Unauthenticated")
    assert _refusal(error).startswith("Failed to connect to Ray cluster at 10.0.0.1:6379; give the cluster's token")
