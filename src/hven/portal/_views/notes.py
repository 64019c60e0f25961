"""Read the news and help pages that the people of a site write beside hven.toml and its descriptors.

Files are read again when they change.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from hven.formats import replace_illegal_characters
from hven.portal._pages.markdown import (
    extract_plain_text_summary,
    read_translated_or_original_file,
    split_first_heading,
)

if TYPE_CHECKING:
    from pathlib import Path

MIN_CHECK_INTERVAL_SECONDS = 1.0  # seconds, between two checks of a directory
MAX_DIRECTORY_FILES = 2_000
PICTURE_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
NEWS_FILE_PATTERN = re.compile(r"(\d{4}-\d{2}-\d{2})(?:-([A-Za-z0-9][A-Za-z0-9_-]*))?\.md")
_PAGE_FILE_PATTERN = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)\.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsOrHelpPage:
    """A page of news or help.

    `name` is its name in addresses, `text` the Markdown without the heading. News have a `day`.
    """

    name: str
    title: str
    text: str
    changed: datetime
    day: date | None = None

    @property
    def summary(self) -> str:
        """The first words of the text."""
        return extract_plain_text_summary(self.text)


class NewsAndHelpCache:
    """Cache of the pages in directories, until their files change; for the event loop and its threads."""

    def __init__(self) -> None:
        self._directory_states: dict[Path, tuple[float, tuple[tuple[str, int, int], ...]]] = {}
        self._notes: dict[
            tuple[Path, str, bool], tuple[tuple[tuple[str, int, int], ...], tuple[NewsOrHelpPage, ...]]
        ] = {}

    def find_directory_state(self, directory: Path) -> tuple[tuple[str, int, int], ...]:
        """Return the state of a directory: its files with times and sizes; empty without a directory.

        Parameters
        ----------
        directory
            The directory.
        """
        cached_state = self._directory_states.get(directory)
        now = time.monotonic()
        if cached_state is not None and now - cached_state[0] < MIN_CHECK_INTERVAL_SECONDS:
            return cached_state[1]
        file_states = []
        try:
            for path in sorted(directory.iterdir())[:MAX_DIRECTORY_FILES]:
                if path.suffix == ".md" or path.suffix.lower() in PICTURE_MEDIA_TYPES:
                    facts = path.stat()
                    file_states.append((path.name, facts.st_mtime_ns, facts.st_size))
        except OSError:
            file_states = []
        self._directory_states[directory] = (now, tuple(file_states))
        return tuple(file_states)

    def list_news(self, directory: Path, site_directory: Path, language: str) -> tuple[NewsOrHelpPage, ...]:
        """Return the news of a directory (``2026-11-20-new-maps.md``), the newest first.

        Parameters
        ----------
        directory
            The directory with the files.
        site_directory
            Directory of the site; files outside are left out.
        language
            Language of the texts, where there is a translation.
        """
        notes = self._list_news_or_help_pages(directory, site_directory, language, is_news=True)
        return tuple(sorted(notes, key=lambda note: (note.day or date.min, note.name), reverse=True))

    def list_help_pages(self, directory: Path, site_directory: Path, language: str) -> tuple[NewsOrHelpPage, ...]:
        """Return the help pages of a directory, by their names; ``index.md`` first.

        Parameters
        ----------
        directory
            The directory with the files.
        site_directory
            Directory of the site; files outside are left out.
        language
            Language of the texts, where there is a translation.
        """
        notes = self._list_news_or_help_pages(directory, site_directory, language, is_news=False)
        return tuple(sorted(notes, key=lambda note: (note.name != "index", note.name)))

    def _list_news_or_help_pages(
        self, directory: Path, site_directory: Path, language: str, *, is_news: bool
    ) -> tuple[NewsOrHelpPage, ...]:
        directory_state = self.find_directory_state(directory)
        key = (directory, language, is_news)
        cached_notes = self._notes.get(key)
        if cached_notes is not None and cached_notes[0] == directory_state:
            return cached_notes[1]
        notes = []
        for file_name, changed_ns, _ in directory_state:
            note = _read_news_or_help_page(directory, site_directory, file_name, changed_ns, language, is_news=is_news)
            if note is not None:
                notes.append(note)
        self._notes[key] = (directory_state, tuple(notes))
        return tuple(notes)


def _read_news_or_help_page(
    directory: Path, site_directory: Path, file_name: str, changed_ns: int, language: str, *, is_news: bool
) -> NewsOrHelpPage | None:
    name_pattern = NEWS_FILE_PATTERN if is_news else _PAGE_FILE_PATTERN
    name_match = name_pattern.fullmatch(file_name)
    if name_match is None:
        return None  # a translation of a page, or no page
    day = None
    if is_news:
        try:
            day = date.fromisoformat(name_match[1])
        except ValueError:
            return None
    text = read_translated_or_original_file(directory / file_name, site_directory, language)
    if text is None:
        return None
    # feeds contain the text: characters that XML does not allow are replaced
    title, body = split_first_heading(replace_illegal_characters(text))
    name = file_name.removesuffix(".md")
    return NewsOrHelpPage(
        name=name,
        title=title or name.replace("-", " "),
        text=body,
        day=day,
        changed=datetime.fromtimestamp(changed_ns / 1e9, UTC),
    )
