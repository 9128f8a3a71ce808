"""Which format a foreign file has, told by its content, and the section that shows what was read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BadRequest
from reports.document import Prose, Section, Table
from reports.foreign.fastchat import judgment_rows, judgment_table
from reports.foreign.logs import log_table
from reports.foreign.peft import ExperimentRow, experiment_table, read_experiment
from reports.paper.authors import Logs, read_logs

__all__ = ["Foreign", "foreign_section", "read_foreign"]

Foreign = ExperimentRow | Logs | tuple[str, list[tuple[str, int, int, float | None, float | None, float | None]]]
"""One file: an experiment of PEFT's, the authors' logs, or a file's name with the ratings of its models."""

_FORMATS = "PEFT's method-comparison JSON, FastChat's single-answer judgments (JSON lines), the authors' logs (CSV)"


def read_foreign(path: Path) -> Foreign:
    """The file's content; BadRequest where it is of none of the three formats, or damaged."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadRequest(f"cannot read {str(path)!r}: {reason}; --import takes {_FORMATS}") from error
    if not text.lstrip().startswith("{"):
        return read_logs(path)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None  # more than one object: one a line
    if isinstance(whole, dict) and "train_info" in whole:
        return read_experiment(whole, path)
    if whole is not None and not (isinstance(whole, dict) and "judgment" in whole):
        raise BadRequest(f"{str(path)!r} is of no format that is known; --import takes {_FORMATS}")
    return path.name, judgment_rows(path)


def foreign_section(found: Sequence[Foreign]) -> Section:
    """One table a format; rows keep their source."""
    experiments = [one for one in found if isinstance(one, ExperimentRow)]
    tables: list[Table] = [experiment_table(experiments)] if experiments else []
    numbered = list(enumerate((one for one in found if isinstance(one, tuple)), 1))
    tables += [judgment_table(name, rows, f"foreign-judgments-{number}") for number, (name, rows) in numbered]
    logs = [one for one in found if isinstance(one, Logs)]
    tables += [log_table(one, f"foreign-logs-{number}") for number, one in enumerate(logs, 1)]
    told = "These figures were published by others, on their machines and by their protocols: they are compared with "
    return Section(id="foreign", title="Others' results", blocks=(Prose(text=f"{told}none measured here."), *tables))
