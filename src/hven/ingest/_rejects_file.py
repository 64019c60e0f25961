"""The rejects file: every row that was kept aside, with where it stood, what was wrong, and what it said."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import orjson

from hven.model.errors import StorageError
from hven.model.sky import contours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self, TextIO

REJECTS_HEADER = ("file", "row", "column", "value", "reason", "text")


class RejectsFile:
    """A CSV file that appears with its first row.

    File, row, column, value, reason, text (the row as it stood, or as JSON).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row_count = 0
        self._file: TextIO | None = None
        self._writer: Any = None

    def write_row(
        self, file: str | None, row: int | None, column: str | None, value: str | None, *, reason: str, text: str | None
    ) -> None:
        """Write one row to the rejects file.

        Raises
        ------
        StorageError
            It cannot be written.
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
                remedy="make room on the disk of var/",
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
    """Write a source row as JSON."""
    return orjson.dumps({name: _describe_contour(value) for name, value in row.items()}, default=str).decode()


def describe_value(value: object) -> object:
    """Write a value for messages: of a contour what it is, or why it is none; other structures as JSON.

    The others stay.
    """
    value = _describe_contour(value)
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=str).decode()
    return value


def _describe_contour(value: object) -> object:
    if isinstance(value, dict) and value.keys() >= {"fault", "number", "pixels"}:
        if not value["fault"]:
            if value["pixels"]:
                return f"a region of {value['pixels']:,} pixels"
            return "a region"
        return list(contours.FAULT_MESSAGES.values())[value["fault"] - 1].format(number=value["number"])
    return value
