"""Write files of a site from its pages, atomically, with a history of all changes.

The history is in Git, or in files of its own. Each change has its author.
"""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.descriptor.api.file_replacement import stage_file
from hven.model.errors import ForbiddenError, StorageError, format_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

GIT_TIMEOUT_SECONDS = 20.0
MAX_SHOWN_CHANGES = 20  # changes of a file that pages show
MAX_READ_BYTES = 512 * 1024  # of the history of a file
MAX_COMPARED_PAIRS = 4_000_000  # pairs of lines; larger texts are compared without a line-by-line match
NEW_FILE_MODE = 0o644
HISTORY_FOLDER = "history"  # mirrors the folders of the site, so that file patterns of collections do not match it
_ENTRY_PATTERN = re.compile(r"^=== (\S+) (.+)\n", re.MULTILINE)
_GIT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One change of a file: when, by whom, and its lines as a unified diff."""

    at: str
    by: str
    diff: str


def write_files_with_history(changes: Mapping[Path, bytes | None], root: Path, account: str) -> None:
    """Write files of a site, and keep their history.

    Parameters
    ----------
    changes
        File -> its new bytes; None deletes it.
    root
        Directory of the site; files outside are refused.
    account
        Account of the author.

    Raises
    ------
    ForbiddenError
        A file may not be written, or lies outside of the site.
    StorageError
        The disk is full or fails; a file that could not be written completely is unchanged.
    """
    staged: dict[Path, Path | None] = {}
    before: dict[Path, bytes | None] = {}
    has_repository = _is_git_repository(root)
    try:
        for path, data in changes.items():
            _check_writable(path, root)
            before[path] = read_file(path)
            staged[path] = None if data is None else _stage_file(path, data)
        if has_repository:
            _commit_files([path for path in changes if path.exists()], root, "hven", "What was changed by hand")
        for path, staged_file in staged.items():
            if has_repository:
                _replace_or_remove_file(staged_file, path)
            else:
                history_size = _append_history(path, before[path], changes[path], root, account=account)
                _replace_file_or_undo_history(staged_file, path, root, history_size)
    except OSError as error:
        raise _build_write_error(error) from error
    finally:
        for staged_file in staged.values():
            if staged_file is not None:
                staged_file.unlink(missing_ok=True)
    if has_repository:
        names = ", ".join(_build_relative_name(path, root) for path in changes)
        if not _commit_files(list(changes), root, account, f"Texts: {names}"):
            _append_histories(before, changes, root, account)


def _replace_file_or_undo_history(staged_file: Path | None, path: Path, root: Path, history_size: int | None) -> None:
    """Replace a file after its history was written; if that fails, cut the history to `history_size` bytes again."""
    try:
        _replace_or_remove_file(staged_file, path)
    except OSError:
        if history_size is not None:
            os.truncate(_build_history_path(path, root), history_size)
        raise


def _append_histories(
    before: Mapping[Path, bytes | None], changes: Mapping[Path, bytes | None], root: Path, account: str
) -> None:
    """Append changes to the histories of their files; a failure is logged."""
    for path, old_data in before.items():
        try:
            _append_history(path, old_data, changes[path], root, account=account)
        except OSError:
            log.exception("the history of %s could not be written", path)


def read_file(path: Path, max_bytes: int = -1) -> bytes | None:
    """Read a file, or its first `max_bytes` bytes; None if there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except FileNotFoundError:
        return None


def list_file_changes(path: Path, root: Path) -> list[FileChange]:
    """List the last changes of a file, the newest first, from Git and from its history file."""
    if _is_git_repository(root):
        changes = _list_commits(path, root)
    else:
        changes = []
    try:
        with _build_history_path(path, root).open("rb") as file:
            file.seek(max(file.seek(0, 2) - MAX_READ_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    parts = _ENTRY_PATTERN.split(text)[1:]
    entries = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    changes += [FileChange(at, by, diff.strip("\n")) for at, by, diff in entries]
    changes.sort(key=lambda change: change.at, reverse=True)
    return changes[:MAX_SHOWN_CHANGES]


def build_unified_diff(before: str, after: str, name: str) -> str:
    """Compare two texts by lines, as a unified diff, in limited time."""
    old = before.splitlines()
    new = after.splitlines()
    first_difference = 0
    while first_difference < min(len(old), len(new)) and old[first_difference] == new[first_difference]:
        first_difference += 1
    old_lines = old[first_difference:]
    new_lines = new[first_difference:]
    while old_lines and new_lines and old_lines[-1] == new_lines[-1]:
        old_lines.pop(), new_lines.pop()
    if len(old_lines) * len(new_lines) <= MAX_COMPARED_PAIRS:
        return "\n".join(difflib.unified_diff(old, new, name, name, lineterm="", n=2))
    hunk_header = f"@@ -{first_difference + 1},{len(old_lines)} +{first_difference + 1},{len(new_lines)} @@"
    diff_lines = [f"--- {name}", f"+++ {name}", hunk_header]
    diff_lines += [f"-{line}" for line in old_lines]
    diff_lines += [f"+{line}" for line in new_lines]
    return "\n".join(diff_lines)


def _check_writable(path: Path, root: Path) -> None:
    """Refuse a file that lies outside of the site, or that is read-only."""
    resolved_path = path.resolve()
    if not resolved_path.is_relative_to(root.resolve()) or path.is_symlink():
        message = format_message(
            "{file} is outside the site's directory, or is a symbolic link", _build_relative_name(path, root)
        )
        raise ForbiddenError(message, remedy="edit the original file")
    if not path.exists():
        return
    has_write_bit = bool(path.stat().st_mode & 0o222)
    if not path.is_file() or not has_write_bit or not os.access(path, os.W_OK):
        message = format_message("{file} is read-only", _build_relative_name(path, root))
        raise ForbiddenError(message, remedy="ask the site's operators to give Hven write permission")


def _stage_file(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return stage_file(path, data, NEW_FILE_MODE)


def _replace_or_remove_file(staged_file: Path | None, path: Path) -> None:
    if staged_file is None:
        path.unlink(missing_ok=True)
    else:
        staged_file.replace(path)


def _build_history_path(path: Path, root: Path) -> Path:
    return root / HISTORY_FOLDER / f"{_build_relative_name(path, root)}.diff"


def _append_history(path: Path, before: bytes | None, after: bytes | None, root: Path, *, account: str) -> int:
    """Append a change to the history of a file; return the earlier size of the history."""
    old, new = ((data or b"").decode("utf-8", "replace") for data in (before, after))
    text = build_unified_diff(old, new, _build_relative_name(path, root))
    history_file = _build_history_path(path, root)
    history_file.parent.mkdir(parents=True, exist_ok=True)
    with history_file.open("ab") as file:
        size = file.tell()
        try:
            time_text = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            file.write(f"=== {time_text} {account}\n{text}\n\n".encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(history_file, size)
            raise
    return size


def _build_write_error(error: OSError) -> ForbiddenError | StorageError:
    reason = (error.strerror or str(error)).lower()
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        message = format_message("the site's files cannot be written: {why}", reason)
        return ForbiddenError(message, remedy="ask the site's operators to give Hven write permission")
    message = format_message("the text cannot be written: {why}", reason)
    return StorageError(
        message, remedy="publish the text when there is disk space again; until then, Hven keeps it as a draft"
    )


def _build_relative_name(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.name


def _run_git(root: Path, *arguments: str) -> str | None:
    """Run Git in a site's directory; None if Git is missing, fails, or takes too long."""
    environment = {name: os.environ[name] for name in _GIT_ENVIRONMENT if name in os.environ}
    options = (
        "-c",
        "commit.gpgsign=false",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.quotepath=false",
        "-c",
        "gc.auto=0",
    )
    git_environment = {**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        completed = subprocess.run(  # noqa: S603  (fixed words, and files after --)
            ["git", "-C", str(root), *options, *arguments],  # noqa: S607
            env=git_environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("git %s: %s", arguments[0], error)
        return None
    if completed.returncode:
        log.info("git %s: %s", arguments[0], completed.stderr.decode("utf-8", "replace").strip()[:500])
        return None
    return completed.stdout[:MAX_READ_BYTES].decode("utf-8", "replace")


def _is_git_repository(root: Path) -> bool:
    """Return whether a site's directory is itself a Git repository, not only a folder of one."""
    return (root / ".git").exists() and _run_git(root, "rev-parse", "--git-dir") is not None


def _commit_files(paths: Sequence[Path], root: Path, author: str, message: str) -> bool:
    """Commit only these files; True if that succeeded or nothing had changed."""
    names = [_build_relative_name(path, root) for path in paths]
    if not names or not _run_git(root, "status", "--porcelain", "--", *names):
        return True
    author = re.sub(r"[<>\x00-\x1f]", "", author)
    committer = ("-c", "user.name=Hven", "-c", "user.email=hven@localhost")
    existing_names = [_build_relative_name(path, root) for path in paths if path.exists()]
    if existing_names and _run_git(root, "add", "--", *existing_names) is None:
        return False
    arguments = (
        "commit",
        "--quiet",
        "--no-verify",
        f"--author={author} <{author}@localhost>",
        f"--message={message}",
        "--only",
        "--",
        *names,
    )
    return _run_git(root, *committer, *arguments) is not None


def _list_commits(path: Path, root: Path) -> list[FileChange]:
    arguments = (
        "log",
        f"--max-count={MAX_SHOWN_CHANGES}",
        "--patch",
        "--no-color",
        "--no-ext-diff",
        "--format=%x00%aI%x00%an%x00",
        "--",
        _build_relative_name(path, root),
    )
    git_log = _run_git(root, *arguments) or ""
    parts = git_log.split("\0")[1:]
    changes = []
    for at, by, text in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        commit_time = datetime.fromisoformat(at).astimezone(UTC)
        changes.append(FileChange(commit_time.strftime("%Y-%m-%dT%H:%M:%SZ"), by, text.strip("\n")))
    return changes
