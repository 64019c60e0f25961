"""Record the environment of a program: the digest of its files and, for Python functions, of Python's packages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DIGEST_PREFIX = "sha256:"
MAX_CACHED_FILES = 256


def compute_environment_digest(argv: Sequence[str | tuple[str, ...]]) -> str:
    """Compute the digest of what runs: system, files of the command line and, for Python, version and packages.

    Parameters
    ----------
    argv
        The program and its arguments, as `ProgramRunner` has them.

    Returns
    -------
    digest
        ``sha256:`` and 64 digits. The paths of the files are no part of it.
    """
    lines = [f"system {platform.system()} {platform.machine()}"]
    fixed_arguments = [argument for argument in argv if isinstance(argument, str) and Path(argument).is_absolute()]
    if argv[0] == sys.executable:
        lines += list_python_packages()
        fixed_arguments = fixed_arguments[1:]
    for argument in fixed_arguments:
        path = Path(argument)
        if path.is_file():
            file_stat = path.stat()
            digest = _compute_file_digest(path, file_stat.st_mtime_ns, file_stat.st_size, file_stat.st_ino)
            lines.append(f"file {path.name} {digest}")
    return DIGEST_PREFIX + hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=1)
def list_python_packages() -> tuple[str, ...]:
    """List the version of Python and of the packages beside it, as ``name==version``; they are read once."""
    packages = {
        f"{str(found.metadata['Name']).lower().replace('_', '-')}=={found.version}"
        for found in importlib.metadata.distributions()
    }
    return (f"python=={platform.python_version()}", *sorted(packages))


@lru_cache(maxsize=MAX_CACHED_FILES)
def _compute_file_digest(path: Path, _modified: int, _size: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
