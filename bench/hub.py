"""The Hugging Face hub, approached once: is it there, is it cached, and without its chatter.

Left alone, the hub's client retries an absent network for 23 seconds and writes to stderr as it does. Here a
single probe decides first, and a request that cannot be met is one line.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.errors import BadRequest

__all__ = ["cache_only", "cached_snapshot", "first_line", "quiet", "reachable", "snapshot"]

_PROBE_SECONDS = 5.0
# Any of these being cached leads to the snapshot folder; which others it needs is the caller's to say.
_LANDMARKS = ("config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a library's progress bars, load reports, log lines and warnings off stdout and stderr."""
    level = logging.root.manager.disable
    sink = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


def reachable() -> bool:
    """Whether the hub answers within five seconds, through whatever proxy and endpoint its client uses."""
    from huggingface_hub import constants, get_session

    try:
        with quiet():
            get_session().head(constants.ENDPOINT, timeout=_PROBE_SECONDS)
    except Exception:
        # DNS, TLS, proxy, timeout, offline mode: the client's many exceptions all mean the same to us.
        return False
    return True


@contextlib.contextmanager
def cache_only() -> Iterator[None]:
    """The hub's own offline mode for the time of a block: requests fail at once, the cache is used."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def cached_snapshot(repo_id: str) -> Path | None:
    """The folder that holds what is cached of a hub repository, or None. No network is asked."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in _LANDMARKS:
        try:
            found = try_to_load_from_cache(repo_id, name)
        except HFValidationError:
            return None
        if isinstance(found, str):
            return Path(found).parent
    return None


def snapshot(
    repo_id: str,
    *,
    choices: Sequence[Sequence[str]],
    complete: Callable[[Path], bool],
    asked: str,
    remedy: str,
) -> Path:
    """The folder of a hub repository, from the cache if it is complete there, else downloaded.

    `choices` are lists of file patterns, tried in turn until `complete(folder)` holds. `asked` is how the
    user named it and `remedy` what to type instead; both go into the BadRequest of anything that fails.
    """
    from huggingface_hub import snapshot_download

    cached = cached_snapshot(repo_id)
    if cached is not None and complete(cached):
        return cached
    if not reachable():
        raise BadRequest(f"cannot load {asked}: the hub is not reachable and it is not cached; {remedy}")
    for patterns in choices:
        try:
            with quiet():
                got = snapshot_download(repo_id, allow_patterns=list(patterns), ignore_patterns=["*/*"])
        except Exception as error:
            # Unknown, private, gated, interrupted: the first line of the hub's message says which.
            raise BadRequest(f"cannot load {asked}: {first_line(error)}; {remedy}") from error
        if complete(Path(got)):
            return Path(got)
    wanted = ", ".join(choices[-1])
    raise BadRequest(f"cannot load {asked}: the hub has it without the files needed ({wanted}); {remedy}")


def first_line(error: BaseException) -> str:
    """The type and first line of a library's message, short enough to stand inside our own."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
