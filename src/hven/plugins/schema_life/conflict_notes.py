"""Keep notes on conflicts that are accepted, in a file of the site: an id and a text in each line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.model.errors import DataError, StorageError, TextPlace, UsageError
from hven.plugins.schema_life.schema_comparison import ID_CHARACTERS

if TYPE_CHECKING:
    from pathlib import Path

NOTES_FILE = "schema-notes.txt"  # in the directory of the site
MAX_NOTES_BYTES = 1 << 20
_NOTE_PATTERN = re.compile(rf"([0-9a-f]{{{ID_CHARACTERS}}})\s+(\S.*)")


def read_conflict_notes(path: Path) -> dict[str, str]:
    """Read the notes by the ids of their conflicts; lines that begin with # are comments.

    Parameters
    ----------
    path
        The file; if it does not exist, there are no notes.

    Raises
    ------
    DataError
        A line is no note, or the file is too large.
    """
    if not path.exists():
        return {}
    if path.stat().st_size > MAX_NOTES_BYTES:
        raise DataError(f"{path} is larger than {MAX_NOTES_BYTES >> 20} MiB", remedy="remove old notes")
    notes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _NOTE_PATTERN.fullmatch(text)
        if match is None:
            raise DataError(
                "the line is not a note on a conflict",
                place=TextPlace(file=str(path), line=number),
                remedy="write the id of the conflict, a space, and the reason why you accept the conflict",
            )
        notes[match[1]] = match[2]
    return notes


def add_note(path: Path, conflict_id: str, text: str) -> None:
    """Add a note to the file.

    Parameters
    ----------
    path
        The file, which is created if needed.
    conflict_id
        Id of the conflict.
    text
        Why the conflict is accepted.

    Raises
    ------
    UsageError
        The id or the text is not valid.
    StorageError
        The file cannot be written.
    """
    line = f"{conflict_id} {' '.join(text.split())}"
    if _NOTE_PATTERN.fullmatch(line) is None:
        remedy = "copy the id from the output of hven compare, and add a text with --note"
        raise UsageError(f"{conflict_id!r:.80} is not the id of a conflict, or the note is empty", remedy=remedy)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        remedy = "check the permissions of the directory"
        raise StorageError(f"{path} cannot be written: {error.strerror}", remedy=remedy) from error
