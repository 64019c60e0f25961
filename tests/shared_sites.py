"""Sites that several tests read: a test that changes one of them fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# below `var`: what the plug-in `operations` notes of slow queries; on a busy machine any query is slow
UNWATCHED_DIRECTORY = "operations"
State = dict[str, tuple[int, int]]  # a file's path -> its bytes and the time of its last change


def read_state(directory: Path) -> State:
    """Read the files of a directory with their sizes and modification times."""
    found = {}
    for place, directories, names in os.walk(directory):
        if UNWATCHED_DIRECTORY in directories and os.path.basename(place) == "var":  # noqa: PTH119  (as below)
            directories.remove(UNWATCHED_DIRECTORY)
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118  (after each test: a path object for each file would cost more than the look)
            try:
                status = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                continue
            found[os.path.relpath(path, directory)] = (status.st_size, status.st_mtime_ns)
    return found


_shared: dict[Path, State] = {}


def share(directory: Path) -> None:
    """Watch the directory of a site; its fixture calls this last."""
    _shared[directory] = read_state(directory)


def release(directory: Path) -> None:
    """Stop watching a directory before its site closes."""
    _shared.pop(directory, None)


def find_changes() -> list[str]:
    """List the files of shared sites that changed since the last call."""
    changes = []
    for directory, before in _shared.items():
        now = _shared[directory] = read_state(directory)
        changes += sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return changes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that changed a shared site, itself or by its fixtures."""
    result = yield
    changes = find_changes()
    if changes:
        pytest.fail(f"this test writes to a site that other tests read ({', '.join(changes[:5])}): give it a site of its own")  # fmt: skip
    return result
