"""Files of a directory, listed without opening them: a million in half a minute."""

from __future__ import annotations

import datetime as dt
import os
import stat
from typing import TYPE_CHECKING

from hven.model.errors import SourceError
from hven.sources._reading.listing import check_link
from hven.sources._stores._facts import Fact, fixed, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Disk:
    """A directory.

    Parameters
    ----------
    roots
        Directories that links may lead into, beside itself.
    """

    def __init__(self, directory: Path, roots: Sequence[Path]) -> None:
        self._directory, self._roots = directory, (directory, *roots)

    def listed(self, patterns: Sequence[str], ignore: Sequence[str]) -> Iterator[tuple[str, Fact]]:
        """List what patterns mean, directory by directory; links to directories are not followed.

        Raises
        ------
        SourceError
            None is there, or a link leads out of the roots.
        """
        begin = os.path.commonpath([fixed(one) for one in patterns]) if all(map(fixed, patterns)) else ""
        deep = None if any("**" in one for one in patterns) else max(one.count("/") for one in patterns)
        some = False
        for path, found, link in self._walked(begin, deep):
            if wanted(path, patterns, ignore):
                some = True
                if link:
                    check_link(self._directory / path, path, self._roots)
                moment = dt.datetime.fromtimestamp(found.st_mtime, dt.UTC).replace(tzinfo=None)
                yield path, Fact(bytes=found.st_size, modified=moment)
        if not some:
            raise SourceError(f"no file matches {', '.join(patterns)}", remedy=f"look into {self._directory}")

    def _walked(self, below: str, deep: int | None) -> Iterator[tuple[str, os.stat_result, bool]]:
        """Yield all files, and whether they are links."""
        begin = f"{below}/" if below else ""
        try:
            entries = sorted(os.scandir(self._directory / below), key=lambda one: one.name)
        except OSError as error:
            raise SourceError(
                f"{below or self._directory.name} cannot be listed: {error.strerror}", remedy="look at its permissions"
            ) from error
        for one in entries:
            path = begin + one.name
            try:
                found = one.stat()
            except OSError:  # a link to nothing, or gone since
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found, one.is_symlink()
            elif stat.S_ISDIR(found.st_mode) and not one.is_symlink() and (deep is None or path.count("/") < deep):
                yield from self._walked(path, deep)
