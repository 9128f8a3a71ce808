"""Files of one JSON object a line, as FastChat writes them; what is wrong is named by file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from eval.mtbench.hostile import well_formed

__all__ = ["MENDED", "read_objects"]

MENDED = "mended"
"""Set in each object that held half a surrogate pair, in a text of its own or of an object inside."""


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of the file (.gz: unpacked) with its place (``questions.jsonl, line 3``); no blank lines.

    Every text is well-formed: half a surrogate pair is U+FFFD, and the object that held it has ``MENDED``. A byte-order
    mark is no part of the first line. Raises BadRequest for a file that cannot be read as UTF-8 text and for a line
    that is no JSON object.
    """
    try:
        # str.splitlines would also cut at U+2028 and the like, which JSON allows inside a string.
        lines = _bytes(path).decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8 text"
        else:
            reason = getattr(error, "strerror", None) or "it is damaged, or no gzip file"
        raise BadRequest(f"cannot read {str(path)!r}: {reason}; give a file of one JSON object a line") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path.name}, line {number}"
        try:
            told = _whole(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"{place}: not JSON, or cut short; one JSON object a line is needed") from error
        if not isinstance(told, dict):
            raise BadRequest(f"{place}: a JSON object is needed, got {type(told).__name__}")
        yield place, told


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        whole = {well_formed(name): _whole(item) for name, item in value.items()}
        return whole if whole == value else {**whole, MENDED: True}
    return value
