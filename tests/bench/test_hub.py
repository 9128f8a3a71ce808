"""The hub's door: a probe that tells, and a silence that ends."""

import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import close_session, constants

from bench.hub import cache_only, first_line, quiet, reachable


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """A local hub that answers every HEAD with 404: there, whatever it thinks of the question."""

    class _Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()
    with HTTPServer(("127.0.0.1", 0), _Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{http.server_port}")
        yield http
        http.shutdown()
    close_session()


def test_a_hub_that_answers_is_reachable(server: HTTPServer) -> None:
    assert reachable()
    with cache_only():
        assert not reachable()
    assert reachable()


def test_a_hub_that_is_away_is_told_at_once(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    start = time.monotonic()
    assert not reachable()
    assert time.monotonic() - start < 6
    assert capfd.readouterr() == ("", "")


def test_quiet_ends_even_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def noise() -> None:
        print("out")
        print("err", file=sys.stderr)
        logging.getLogger("transformers").critical("log")
        warnings.warn("warning", stacklevel=1)

    with pytest.raises(KeyError), quiet():
        noise()
        raise KeyError
    assert capfd.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="warning"):
        noise()
    out, err = capfd.readouterr()
    assert out == "out\n" and err.startswith("err\n")
    assert logging.root.manager.disable == logging.NOTSET


def test_first_line() -> None:
    assert first_line(OSError("one\ntwo")) == "OSError: one"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 1000))) < 220
