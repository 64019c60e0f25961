"""Find the programs of a site, and run them under a supervisor with limits, which ends them with all their children."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from hven.model.errors import UserError
from hven.sources import _process_supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

PROGRAM_PATH = "/usr/local/bin:/usr/bin:/bin"  # where a site's programs are looked for, and what they are given


def find_program(directory: Path, name: str) -> str:
    """Find a program.

    Parameters
    ----------
    directory
        Directory of hven.toml: a word with a slash is a path from there.
    name
        The path, or a name on the path of programs.

    Returns
    -------
    path
        Absolute; whether there is a file, who starts it is told.

    Raises
    ------
    UserError
        No program is called so.
    """
    if "/" in name:
        return str((directory / name).absolute())
    program_path = shutil.which(name, path=PROGRAM_PATH)
    if program_path is None:
        raise UserError(f"there is no program {name!r}")
    return program_path


def start_supervised_program(
    argv: Sequence[str],
    directory: Path,
    stdout: BinaryIO,
    stderr: BinaryIO,
    *,
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Mapping[str, int | None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program of the site under a supervisor.

    When the warden's standard input is closed, all that came of the program is killed.

    Parameters
    ----------
    argv
        The program and its arguments.
    directory
        Its directory, its HOME, and where it may write.
    stdout, stderr
        What it says.
    stdin
        A file that it reads; None: nothing.
    environment
        Beside PATH, LANG, HOME and TMPDIR.
    limits
        Limits of `resource`, by name; None: no limit. It never leaves a core.

    Returns
    -------
    process
        Of the warden.
    """
    request = {
        "argv": list(argv),
        "environment": {
            "PATH": PROGRAM_PATH,
            "LANG": "C.UTF-8",
            "HOME": str(directory),
            "TMPDIR": str(directory),
            **(environment or {}),
        },
        "limits": {name: value for name, value in {**(limits or {}), "RLIMIT_CORE": 0}.items() if value is not None},
        **({} if stdin is None else {"stdin": str(stdin)}),
    }
    return subprocess.Popen(  # noqa: S603  (no shell; the program is the site's own word)
        [sys.executable, "-I", "-S", _process_supervisor.__file__, json.dumps(request)],
        cwd=directory,
        env={"PATH": PROGRAM_PATH, "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
