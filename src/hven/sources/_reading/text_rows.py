"""Read rows of text files in batches: the common part of delimited and fixed-width text."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import BeforeValidator

from hven.model.errors import SourceError, TextPlace
from hven.sources._reading.data_files import DataFile, build_source_batch
from hven.sources._reading.delimited import (
    DelimitedLayout,
    ParsedBlock,
    iterate_rejects,
    parse_delimited_blocks,
    report_rounded_numbers,
    report_unusual_number_spellings,
)
from hven.sources._reading.file_rows import FileByFileSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources._reading.text_blocks import TextBlockReader


def _normalize_null_option(value: object) -> object:
    if isinstance(value, (str, int, float)):
        value = [value]
    if isinstance(value, list):
        value = {"*": value}
    if isinstance(value, dict):
        return {
            str(key): [str(word) for word in (words if isinstance(words, list) else [words])]
            for key, words in value.items()
        }
    return value


Nulls = Annotated[dict[str, list[str]], BeforeValidator(_normalize_null_option)]


def list_null_words(nulls: Mapping[str, Sequence[str]], column_name: str) -> tuple[str, ...]:
    """List the words that stand for a missing value in a column.

    Parameters
    ----------
    nulls
        Words by names of columns; those of ``*`` are for all columns.
    column_name
        Name of the column.

    Returns
    -------
    words
        Words of all columns, and of this one.
    """
    return (*nulls.get("*", ()), *nulls.get(column_name, ()))


class TextFileSource(FileByFileSource):
    """The rows of one or more text files."""

    @abstractmethod
    def _open_at_first_record(
        self, file: DataFile, file_column_names: Sequence[str]
    ) -> tuple[TextBlockReader, DelimitedLayout]:
        """Open a file at its first record, and return the layout of its records."""

    @abstractmethod
    def _find_declared_types(self) -> Mapping[str, Any]:
        """Return the columns with a declared type; the types of others were guessed."""

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], _limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        text, shape = self._open_at_first_record(file, file_column_names)
        first = 1
        try:
            for parsed in parse_delimited_blocks(text.read_blocks(), shape, file_column_names, file.name):
                self._report_deviations_and_rejects(parsed, first, file)
                if not parsed.arrays:  # given up in the middle of it
                    at = first + parsed.rejects[0][0]
                    raise SourceError(
                        f"rows have too few or too many fields; the first is row {at}",
                        place=TextPlace(file=file.name),
                    )
                number: pa.Array | int = (
                    first if parsed.positions is None else pa.array(parsed.positions + first, pa.int64())
                )
                if parsed.good_count:
                    yield build_source_batch(column_names, parsed.arrays, parsed.good_count, number, file)
                first += parsed.total_count
        finally:
            text.close()

    def _report_deviations_and_rejects(self, parsed_block: ParsedBlock, first_row: int, file: DataFile) -> None:
        report_rounded_numbers(parsed_block, first_row, file.name, self.context.report_deviation)
        if parsed_block.respelt:
            report_unusual_number_spellings(
                parsed_block, first_row, file.name, self._find_declared_types(), self.context.report_deviation
            )
        if not parsed_block.rejects:
            return
        declared = {**self.context.target_types, **self._find_declared_types()}
        for reject in iterate_rejects(parsed_block, first_row, file.name, declared):
            if self.context.on_reject is None:
                location = f"row {reject.row}" + (
                    f", column {reject.column}: {reject.value!r} is" if reject.column else ":"
                )
                raise SourceError(f"{location} {reject.reason}", place=TextPlace(file=file.name))
            self.context.on_reject(reject)
