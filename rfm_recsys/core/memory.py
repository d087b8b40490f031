"""How much memory there is, and whether it is enough."""

from collections.abc import Sequence
from pathlib import Path

import psutil

from rfm_recsys.errors import InsufficientMemoryError

CONTROL_GROUP = "/sys/fs/cgroup"  # of Linux; elsewhere there is no such folder, and no such limit
FILES = ("active_file ", "inactive_file ")  # cached files, which count as used and are given up on demand


def check_memory(needed: int, work: str, remedy: str) -> None:
    """Raise InsufficientMemoryError, before any of it is used, when ``needed`` bytes are more than there are."""
    available = available_memory()
    if needed > available:
        raise InsufficientMemoryError(
            f"{work} needs about {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are available; {remedy}"
        )


def available_memory() -> int:
    """Return the bytes that this process can still take: what the machine has, within its control group's limit."""
    available = int(psutil.virtual_memory().available)
    limit, used = _lines(f"{CONTROL_GROUP}/memory.max"), _lines(f"{CONTROL_GROUP}/memory.current")
    if limit and used and limit[0] != "max":
        cached = sum(int(line.split()[1]) for line in _lines(f"{CONTROL_GROUP}/memory.stat") if line.startswith(FILES))
        available = min(available, int(limit[0]) - int(used[0]) + cached)
    return available


def _lines(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return ()
