"""Limits of a program that the kernel does not know: of all its files, and of all its processes together."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

DEFAULT_DISK_BYTES = 10 * 1024**3
DEFAULT_PROCESS_LIMIT = 256
MAX_FILES = 100_000  # in the directory of a program
MIN_FREE_BYTES = 256 * 1024**2  # of the disk, below which a program is stopped
CHECK_INTERVAL_SECONDS = 0.25
BLOCK_BYTES = 512  # of `st_blocks`
REDACTED_BYTES = b"***"
MIN_SECRET_BYTES = 4  # a shorter secret would be found in every other word
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramWatch:
    """Watch what a running program uses.

    Attributes
    ----------
    supervisor_pid
        The process above the program.
    directory
        Directory of the program.
    output_paths
        The files with its output.
    disk_limit_bytes
        Maximum size of all these files together.
    process_limit
        Maximum number of its processes.
    """

    supervisor_pid: int
    directory: Path
    output_paths: Collection[Path]
    disk_limit_bytes: int
    process_limit: int

    def find_exceeded_limit(self) -> str | None:
        """Return in words which limit the program exceeds; None: it keeps all limits."""
        if len(list_descendants(self.supervisor_pid, self.process_limit)) > self.process_limit:
            return f"it started more than {self.process_limit:,} processes (limits.processes)"
        used_bytes, file_count = measure_files(self.directory)
        used_bytes += sum(path.stat().st_blocks * BLOCK_BYTES for path in self.output_paths)
        if file_count > MAX_FILES:
            return f"it wrote more than {MAX_FILES:,} files"
        if used_bytes > self.disk_limit_bytes:
            return f"its files and its output have more than {self.disk_limit_bytes:,} bytes (limits.disk)"
        if shutil.disk_usage(self.directory).free < MIN_FREE_BYTES:
            return "the disk is full"
        return None


def list_descendants(pid: int, count_limit: int) -> list[int]:
    """List the processes below a process.

    Parameters
    ----------
    pid
        The process.
    count_limit
        The search ends when it has found more.

    Returns
    -------
    pids
        Their ids; none where the system has no ``/proc``.
    """
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) <= count_limit:
        for path in _list_child_files(waiting.pop()):
            try:
                child_pids = [int(word) for word in path.read_text(encoding="ascii").split()]
            except (OSError, ValueError):  # the thread has ended
                continue
            found += child_pids
            waiting += child_pids
    return found


def _list_child_files(pid: int) -> list[Path]:
    """List the files with the children of each thread of a process; none if the process has ended."""
    try:
        return list(Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []


def measure_files(directory: Path) -> tuple[int, int]:
    """Measure the files below a directory, without following links.

    Parameters
    ----------
    directory
        The directory.

    Returns
    -------
    used_bytes, file_count
        Space on the disk, and number of files and directories. The search ends after the largest number of files.
    """
    used_bytes = file_count = 0
    waiting = [str(directory)]
    while waiting and file_count <= MAX_FILES:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    file_count += 1
                    used_bytes += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:  # the program removed it
            continue
    return used_bytes, file_count


def redact_file(path: Path, secrets: Collection[str]) -> None:
    """Replace secrets in a file by stars.

    Parameters
    ----------
    path
        The file.
    secrets
        The secrets; those of less than four bytes are not replaced.
    """
    secret_bytes = sorted({secret.encode() for secret in secrets}, key=len, reverse=True)
    secret_bytes = [secret for secret in secret_bytes if len(secret) >= MIN_SECRET_BYTES]
    if not secret_bytes:
        return
    redacted_path = path.with_name(f"{path.name}.part")
    overlap = len(secret_bytes[0]) - 1
    with path.open("rb") as source, redacted_path.open("wb") as target:
        text = b""
        while chunk := source.read(CHUNK_BYTES):
            text = _redact_bytes(text + chunk, secret_bytes)
            # a secret may begin at the end of this part
            written_end = max(0, len(text) - overlap)
            target.write(text[:written_end])
            text = text[written_end:]
        target.write(text)
    redacted_path.replace(path)


def _redact_bytes(text: bytes, secrets: Collection[bytes]) -> bytes:
    for secret in secrets:
        text = text.replace(secret, REDACTED_BYTES)
    return text
