"""Files of a site written from its pages: whole or not at all, each change kept with who made it, as a commit of Git or in a file of its own."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import secrets
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.model.errors import Forbidden, StorageError, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SECONDS = 20.0  # that Git may take
SHOWN = 20  # changes of a file that pages show
READ = 512 * 1024  # bytes of them
COMPARED = 4_000_000  # pairs of lines; of more the whole middle is told as gone and come
FOLDER = (
    "history"  # of the site: below it as the file below the site, so that no pattern of a collection's files meets it
)
_ENTRY = re.compile(r"^=== (\S+) (.+)\n", re.MULTILINE)
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a file: when, by whom, and its lines as a unified diff."""

    at: str
    by: str
    diff: str


def write(changes: Mapping[Path, bytes | None], root: Path, by: str) -> None:
    """Write files of a site, and keep what they were.

    Parameters
    ----------
    changes
        File -> its bytes; None takes it away.
    root
        Directory of the site: nothing outside of it is written.
    by
        The account that does.

    Raises
    ------
    Forbidden
        A file may not be written, or lies outside of the site.
    StorageError
        There is no room, or the disk fails; a file that is not written whole is what it was.
    """
    staged: dict[Path, Path | None] = {}
    before: dict[Path, bytes | None] = {}
    git = _repository(root)
    try:
        for path, data in changes.items():
            _may(path, root)
            before[path] = read(path)
            staged[path] = None if data is None else _beside(path, data)
        if git:
            _commit([path for path in changes if path.exists()], root, "hven", "What was changed by hand")
        for path, part in staged.items():
            size = None if git else _noted(path, before[path], changes[path], root, by)
            try:
                _placed(part, path)
            except OSError:
                if size is not None:
                    os.truncate(_history(path, root), size)
                raise
    except OSError as error:
        raise _failed(error) from error
    finally:
        for part in staged.values():
            if part is not None:
                part.unlink(missing_ok=True)
    if git and not _commit(list(changes), root, by, f"Texts: {', '.join(_name(path, root) for path in changes)}"):
        for path, old in before.items():
            try:
                _noted(path, old, changes[path], root, by)
            except OSError:
                log.exception("the history of %s could not be written", path)


def read(path: Path, most: int = -1) -> bytes | None:
    """Read a file, or so many of its bytes; None: there is none."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        return None


def history(path: Path, root: Path) -> list[Change]:
    """List the last changes of a file, the newest first: those that Git knows, and those written down beside."""
    found = _committed(path, root) if _repository(root) else []
    try:
        with _history(path, root).open("rb") as file:
            file.seek(max(file.seek(0, 2) - READ, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    parts = _ENTRY.split(text)[1:]
    found += [Change(at, by, diff.strip("\n")) for at, by, diff in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]  # fmt: skip
    return sorted(found, key=lambda one: one.at, reverse=True)[:SHOWN]


def diff(before: str, after: str, name: str) -> str:
    """Compare two texts by lines, as a unified diff; how long that takes has a bound."""
    old, new = before.splitlines(), after.splitlines()
    first = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))  # fmt: skip
    left, right = old[first:], new[first:]
    while left and right and left[-1] == right[-1]:
        left.pop(), right.pop()
    if len(left) * len(right) <= COMPARED:
        return "\n".join(difflib.unified_diff(old, new, name, name, lineterm="", n=2))
    head = f"@@ -{first + 1},{len(left)} +{first + 1},{len(right)} @@"
    return "\n".join([f"--- {name}", f"+++ {name}", head, *(f"-{one}" for one in left), *(f"+{one}" for one in right)])


def _may(path: Path, root: Path) -> None:
    """Refuse a file that lies elsewhere, or that its owner has shut."""
    real = path.resolve()
    if not real.is_relative_to(root.resolve()) or path.is_symlink():
        raise Forbidden(say("{file} lies outside of the site, or is a link", _name(path, root)), remedy="change the file where it is")  # fmt: skip
    if path.exists() and (not path.is_file() or not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK)):
        raise Forbidden(say("{file} is read-only", _name(path, root)), remedy="the owner of the site may change that")


def _beside(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        facts = path.stat() if path.exists() else None
        if facts is not None:
            for owner in ((-1, facts.st_gid), (facts.st_uid, -1)):
                with suppress(OSError):  # who edits by hand can go on, as far as the server may say so
                    os.chown(part, *owner)
        part.chmod(facts.st_mode & 0o777 if facts is not None else 0o644)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def _placed(part: Path | None, path: Path) -> None:
    if part is None:
        path.unlink(missing_ok=True)
    else:
        part.replace(path)


def _history(path: Path, root: Path) -> Path:
    return root / FOLDER / f"{_name(path, root)}.diff"


def _noted(path: Path, before: bytes | None, after: bytes | None, root: Path, by: str) -> int:
    """Append a change to the history of a file; return how long that was before."""
    old, new = ((one or b"").decode("utf-8", "replace") for one in (before, after))
    text = diff(old, new, _name(path, root))
    place = _history(path, root)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("ab") as file:
        size = file.tell()
        try:
            file.write(f"=== {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {by}\n{text}\n\n".encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(place, size)
            raise
    return size


def _failed(error: OSError) -> Forbidden | StorageError:
    why = (error.strerror or str(error)).lower()
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return Forbidden(say("the files of the site cannot be written: {why}", why), remedy="the owner of the site may change that")  # fmt: skip
    return StorageError(say("the text cannot be written: {why}", why), remedy="it is kept as a draft: publish it when there is room")  # fmt: skip


def _name(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.name


def _git(root: Path, *words: str) -> str | None:
    """Run Git in a site's directory; None: it is not there, refuses, or takes too long."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    quiet = ("-c", "commit.gpgsign=false", "-c", "core.fsmonitor=false", "-c", "core.quotepath=false", "-c", "gc.auto=0")  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603  (words of ours, and files behind --)
            ["git", "-C", str(root), *quiet, *words],  # noqa: S607
            env={**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("git %s: %s", words[0], error)
        return None
    if done.returncode:
        log.info("git %s: %s", words[0], done.stderr.decode("utf-8", "replace").strip()[:500])
        return None
    return done.stdout[:READ].decode("utf-8", "replace")


def _repository(root: Path) -> bool:
    """Return whether a site's directory is kept in Git; a directory that only lies below another project's is not."""
    return (root / ".git").exists() and _git(root, "rev-parse", "--git-dir") is not None


def _commit(paths: Sequence[Path], root: Path, by: str, message: str) -> bool:
    """Commit these files and nothing else; True: it is done, or nothing was to do."""
    names = [_name(path, root) for path in paths]
    if not names or not _git(root, "status", "--porcelain", "--", *names):
        return True
    by = re.sub(r"[<>\x00-\x1f]", "", by)
    who = ("-c", "user.name=Hven", "-c", "user.email=hven@localhost")
    there = [_name(path, root) for path in paths if path.exists()]
    if there and _git(root, "add", "--", *there) is None:
        return False
    words = ("commit", "--quiet", "--no-verify", f"--author={by} <{by}@localhost>", f"--message={message}", "--only", "--", *names)  # fmt: skip
    return _git(root, *who, *words) is not None


def _committed(path: Path, root: Path) -> list[Change]:
    told = _git(root, "log", f"--max-count={SHOWN}", "--patch", "--no-color", "--no-ext-diff", "--format=%x00%aI%x00%an%x00", "--", _name(path, root)) or ""  # fmt: skip
    parts = told.split("\0")[1:]
    return [
        Change(datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), by, text.strip("\n"))
        for at, by, text in zip(parts[::3], parts[1::3], parts[2::3], strict=False)
    ]
