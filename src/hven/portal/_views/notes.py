"""Files that a site's people write beside hven.toml and its descriptors: news with their dates, help pages; looked at again when they change."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from hven.formats.votable import legal
from hven.portal._pages.markdown import first_heading, plain, spoken

if TYPE_CHECKING:
    from pathlib import Path

LOOK = 1.0  # seconds between two looks at a directory
MOST = 2_000  # files of a directory
PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
NEWS = re.compile(r"(\d{4}-\d{2}-\d{2})(?:-([A-Za-z0-9][A-Za-z0-9_-]*))?\.md")
_PAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)\.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A page that somebody wrote: `name` in addresses, heading, Markdown without it; of news the day, too."""

    name: str
    title: str
    text: str
    changed: datetime
    day: date | None = None

    @property
    def begin(self) -> str:
        """The first words."""
        return plain(self.text)


class Shelf:
    """What is in some directories, remembered until it changes; for the event loop and its threads."""

    def __init__(self) -> None:
        self._looked: dict[Path, tuple[float, tuple[tuple[str, int, int], ...]]] = {}
        self._notes: dict[tuple[Path, str, bool], tuple[tuple[tuple[str, int, int], ...], tuple[Note, ...]]] = {}

    def state(self, directory: Path) -> tuple[tuple[str, int, int], ...]:
        """Name the state of a directory: its files, with sizes and times; empty if there is none."""
        known = self._looked.get(directory)
        now = time.monotonic()
        if known is not None and now - known[0] < LOOK:
            return known[1]
        found = []
        try:
            for path in sorted(directory.iterdir())[:MOST]:
                if path.suffix == ".md" or path.suffix.lower() in PICTURES:
                    facts = path.stat()
                    found.append((path.name, facts.st_mtime_ns, facts.st_size))
        except OSError:
            found = []
        self._looked[directory] = (now, tuple(found))
        return tuple(found)

    def news(self, directory: Path, root: Path, language: str) -> tuple[Note, ...]:
        """Return the news of a directory (``2026-11-20-new-maps.md``), the newest first."""
        return tuple(
            sorted(
                self._all(directory, root, language, dated=True),
                key=lambda note: (note.day or date.min, note.name),
                reverse=True,
            )
        )

    def pages(self, directory: Path, root: Path, language: str) -> tuple[Note, ...]:
        """Return the help pages of a directory, by their names; ``index.md`` first."""
        return tuple(
            sorted(
                self._all(directory, root, language, dated=False), key=lambda note: (note.name != "index", note.name)
            )
        )

    def _all(self, directory: Path, root: Path, language: str, *, dated: bool) -> tuple[Note, ...]:
        state = self.state(directory)
        key = (directory, language, dated)
        known = self._notes.get(key)
        if known is not None and known[0] == state:
            return known[1]
        notes = [
            made
            for name, when, _ in state
            if (made := _note(directory, root, name, when, language, dated=dated)) is not None
        ]
        self._notes[key] = (state, tuple(notes))
        return tuple(notes)


def _note(directory: Path, root: Path, file: str, when: int, language: str, *, dated: bool) -> Note | None:
    found = (NEWS if dated else _PAGE).fullmatch(file)
    if found is None:
        return None  # another language of a page, or no page
    day = None
    if dated:
        try:
            day = date.fromisoformat(found[1])
        except ValueError:
            return None
    text = spoken(directory / file, root, language)
    if text is None:
        return None
    # no sign that XML cannot have: feeds are made of it
    title, rest = first_heading(legal(text))
    name = file.removesuffix(".md")
    return Note(
        name=name,
        title=title or name.replace("-", " "),
        text=rest,
        day=day,
        changed=datetime.fromtimestamp(when / 1e9, UTC),
    )
