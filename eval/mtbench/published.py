"""The published files of MT-Bench: where they are, what their bytes hash to, and a cache of them."""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BadRequest

__all__ = ["FILES", "NotAtHand", "PublishedFile", "cache_folder", "obtain"]

_FASTCHAT = "https://raw.githubusercontent.com/lm-sys/FastChat/main/fastchat/llm_judge/data"
_INFLECTION = "https://raw.githubusercontent.com/InflectionAI/Inflection-Benchmarks/main"
_SECONDS = 20.0  # of silence on the line


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file: its name here, its public address, and what it must hash to."""

    name: str
    url: str
    sha256: str | None
    """None where no hash was published: read as it comes, and told to be unverified."""


FILES = {
    file.name: file
    for file in (
        PublishedFile(
            name="question.jsonl",
            url=f"{_FASTCHAT}/mt_bench/question.jsonl",
            sha256="119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
        ),
        PublishedFile(
            name="judge_prompts.jsonl",
            url=f"{_FASTCHAT}/judge_prompts.jsonl",
            sha256="fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
        ),
        PublishedFile(
            name="reference_answer_gpt-4.jsonl",
            url=f"{_FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl",
            sha256="f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
        ),
        PublishedFile(
            name="mt_bench_inf.jsonl",
            url=f"{_INFLECTION}/mt_bench_inf.jsonl",
            sha256="ca66c6bd52168ff38a3e97ffaaf88c8fbb94cac8613d49efe1ca0e1925ac1755",
        ),
        PublishedFile(name="vicuna_question.jsonl", url=f"{_FASTCHAT}/vicuna_bench/question.jsonl", sha256=None),
        PublishedFile(
            name="vicuna_reference_answer_gpt-4.jsonl",
            url=f"{_FASTCHAT}/vicuna_bench/reference_answer/gpt-4.jsonl",
            sha256=None,
        ),
    )
}


class NotAtHand(BadRequest):
    """A published file is neither in the folder given nor in the cache, and its address does not answer."""


def cache_folder() -> Path:
    """Where fetched files are kept: ``$XDG_CACHE_HOME/sparsegrad/mtbench``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsegrad" / "mtbench"


def obtain(name: str, data_dir: Path | None) -> Path:
    """The file of that name: from ``data_dir`` if it was given, else from the cache, else fetched into it.

    Raises NotAtHand where there is none, and BadRequest where the bytes are not the published ones.
    """
    file = FILES[name]
    if data_dir is not None:
        path = data_dir / name
        if not path.is_file():
            raise NotAtHand(f"{str(data_dir)!r} has no {name}; put it there, from {file.url}")
    else:
        path = cache_folder() / name
        if not path.is_file():
            _fetch(file, path)
    _check(file, path)
    return path


def _check(file: PublishedFile, path: Path) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadRequest(f"cannot read {str(path)!r}: {error.strerror}; put {file.url} there") from error
    if file.sha256 not in (None, found):
        raise BadRequest(
            f"{str(path)!r} is not the published {file.name}: SHA-256 {found[:12]}..., needed {file.sha256[:12]}...; "
            f"take it from {file.url}, or give a file of your own as --questions FILE"
        )


def _fetch(file: PublishedFile, path: Path) -> None:
    """Download under another name first: what stands under its own is whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with urllib.request.urlopen(file.url, timeout=_SECONDS) as answer:
            body = answer.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise NotAtHand(
            f"{file.name} is not at hand, and its address does not answer ({str(reason)[:80]}): put it from {file.url} "
            "into a folder and give --data-dir DIR, or take the project's own: --questions own, --prompts own"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(body)
        _check(file, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
