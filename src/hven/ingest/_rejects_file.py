"""The rejects file: each rejected row, with its place in the source, the reason, and its text."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import orjson

from hven.model.errors import StorageError
from hven.model.sky import contour_faults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self, TextIO

REJECTS_HEADER = ("file", "row", "column", "value", "reason", "text")


class RejectsFile:
    """A CSV file of rejected rows, which is created with the first row.

    The columns are file, row, column, value, reason and text: the text of the row in the source, or the row as JSON.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row_count = 0
        self._file: TextIO | None = None
        self._writer: Any = None

    def write_row(
        self, file: str | None, row: int | None, column: str | None, value: str | None, *, reason: str, text: str | None
    ) -> None:
        """Write one row.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        try:
            if self._writer is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
                self._writer = csv.writer(self._file)
                self._writer.writerow(REJECTS_HEADER)
            self._writer.writerow((file, row, column, value, reason, text))
        except OSError as error:
            raise StorageError(
                f"the rejects file {self.path} cannot be written: {error.strerror}",
                remedy="free some space on the disk that contains var/",
            ) from error
        self.row_count += 1

    def close(self) -> None:
        """Close the file.

        Raises
        ------
        StorageError
            The last rows cannot be written.
        """
        if self._file is not None:
            file = self._file
            self._file = None
            self._writer = None
            try:
                file.close()
            except OSError as error:
                raise StorageError(f"the rejects file {self.path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def format_row_as_json(row: Mapping[str, object]) -> str:
    """Format a source row as JSON."""
    readable_row = {name: _describe_if_contour(value) for name, value in row.items()}
    return orjson.dumps(readable_row, default=str).decode()


def format_value_for_message(value: object) -> object:
    """Return a value as messages show it: a description of a contour, JSON of other structures, others unchanged."""
    value = _describe_if_contour(value)
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=str).decode()
    return value


def _describe_if_contour(value: object) -> object:
    if not isinstance(value, dict) or not value.keys() >= {"fault", "number", "pixels"}:
        return value
    if value["fault"]:
        messages = list(contour_faults.FAULT_MESSAGES.values())
        return messages[value["fault"] - 1].format(number=value["number"])
    if value["pixels"]:
        return f"a region of {value['pixels']:,} pixels"
    return "a region"
