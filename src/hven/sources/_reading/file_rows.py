"""Read rows of one or more files, one file after the other: the common part of all kinds that read whole files."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from hven.model import DeviationKind, ReadDeviation, units
from hven.model.errors import SourceError, TextPlace
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, SourceContext, build_file_list
from hven.sources._reading.batch_slicing import split_batches
from hven.sources._reading.data_files import DataFile, FileOptions, resolve_column_names
from hven.sources._reading.file_listing import FileListing, find_data_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from hven.model.table import Column


def _find_file_state(file: DataFile) -> tuple[int, int, int] | None:
    """Return inode, size and time of a file; None: it is gone, or a copy of a remote file, which does not change."""
    if not file.is_local:
        return None
    with contextlib.suppress(OSError):
        state = file.path.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns
    return None


class FileSource(ABC):
    """The files of a `Source`, however it reads them.

    Parameters
    ----------
    options, context
        Options and context of the source.
    files
        The files; None: those of `options`.

    Raises
    ------
    SourceError
        There is no such file.
    """

    _whole_source_first_name = ""  # of a selection of the files

    def __init__(self, options: FileOptions, context: SourceContext, files: Sequence[DataFile] | None = None) -> None:
        self.context = context
        self.files: Sequence[DataFile] = (
            find_data_files(options, context.directory, context.allowed_roots, context.run_name)
            if files is None
            else [*files]
        )
        self.read_count = 0  # rows or files, of kinds that count those instead of bytes

    @property
    def first_file_name(self) -> str:
        """Name of the file that describes the columns of all files: the first one, also if it is not selected."""
        return self._whole_source_first_name or (self.files[0].name if self.files else "")

    @abstractmethod
    def list_columns(self) -> list[Column]:
        """List the columns.

        Returns
        -------
        columns
            Columns of all files.
        """

    def list_files(self) -> pa.Table:
        """List the files with size and time, as they are now, or as this run saw them.

        Returns
        -------
        files
            A row for each file (`hven.sources.build_file_list`).
        """
        if isinstance(self.files, FileListing):
            return (self.files if self.context.run_name else self.files.copy_with_current_stats()).to_arrow_table()
        return build_file_list(file.copy_unread().request_version_without_reading() for file in self.files)

    def select_files(self, file_names: Collection[str]) -> Self:
        """Select the rows of these files; guesses stay as they are.

        Parameters
        ----------
        file_names
            Names of files.

        Returns
        -------
        source
            A copy of this source.
        """
        self.list_columns()  # guesses are cached, and copied with the source
        selection = copy.copy(self)
        selection.read_count = 0
        selection._whole_source_first_name = self.first_file_name  # noqa: SLF001  (of this class)
        wanted_names = set(file_names)
        if isinstance(self.files, FileListing):
            selection.files = self.files.select_files(wanted_names)
        else:
            selection.files = [file.copy_unread() for file in self.files if file.name in wanted_names]
        return selection

    def list_input_versions(self) -> list[InputVersion]:
        """List the files with their checksums."""
        return [file.build_input_version() for file in self.files]

    def estimate_progress_total(self) -> int:
        """Count the bytes on disk.

        Returns
        -------
        size
            Bytes of all files.
        """
        if isinstance(self.files, FileListing):
            return self.files.total_bytes
        return sum(file.size for file in self.files)

    def count_progress_units(self) -> int:
        """Count the bytes on disk read so far.

        Returns
        -------
        size
            Bytes, compressed where the files are.
        """
        if isinstance(self.files, FileListing):
            return self.files.bytes_read
        return sum(file.bytes_read_from_disk for file in self.files)


class FilesAsRowsSource(FileSource):
    """The files of kinds whose rows are files: they are listed once, and no link may lead elsewhere.

    Everybody may see such rows. A link that somebody puts in the place of a file is not the curator's decision.
    """

    def __init__(self, options: FileOptions, context: SourceContext) -> None:
        super().__init__(options, context)
        if isinstance(self.files, FileListing):
            self.files.refuse_escaping_links((context.directory, *context.allowed_roots))

    def with_context(self, context: SourceContext) -> Self:
        """Return the same files in another context.

        Parameters
        ----------
        context
            Directory, secrets, query and so on.
        """
        rebound = copy.copy(self)
        rebound.context = replace(context, directory=self.context.directory)
        return rebound

    def count_progress_units(self) -> int:
        """Count the bytes read so far."""
        return self.read_count


def is_exact_widening(narrow_type: pa.DataType, wide_type: pa.DataType) -> bool:
    """Check whether numbers of one type can be converted to another one without loss.

    Parameters
    ----------
    narrow_type, wide_type
        Arrow types.

    Returns
    -------
    is_exact
        False for equal types, and for types of other values than numbers.
    """
    if pa.types.is_integer(narrow_type) and pa.types.is_floating(wide_type):
        return bool(2 * narrow_type.bit_width <= wide_type.bit_width)
    for is_kind in (pa.types.is_integer, pa.types.is_floating):
        if is_kind(narrow_type) and is_kind(wide_type):
            return bool(narrow_type.bit_width < wide_type.bit_width)
    return False


class FileByFileSource(FileSource):
    """The part of a `Source` that reads file by file.

    A subclass lists the columns, and reads the rows of one file.
    """

    @abstractmethod
    def _list_column_names(self) -> Sequence[str]:
        """List all columns' names."""

    @abstractmethod
    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Read the rows of one file: `column_names` in their order; the file holds `file_column_names`.

        A few rows more than `row_limit` do no harm.
        """

    def _check_same_units(self, file: DataFile, columns: Sequence[Column], file_column_names: Sequence[str]) -> None:
        """Refuse a file whose units differ from those of the first file, which are stated for all."""
        first = {column.name: column.unit for column in self.list_columns()}
        for column in columns:
            unit_here = units.normalize_unit(column.unit)
            unit_first = units.normalize_unit(first.get(column.name))
            if (
                column.name in file_column_names
                and unit_here
                and unit_first
                and not units.is_same_unit(unit_here, unit_first)
            ):
                raise SourceError(
                    f"the unit of column {column.name!r} is {unit_here}, "
                    f"but in {self.first_file_name} it is {unit_first}",
                    place=TextPlace(file=file.name),
                    remedy="write a separate source entry for the file so that Hven converts its values",
                )

    def _report_further_columns(self, file: DataFile, names: Iterable[str]) -> None:
        """Report the columns of a file that the first file lacks: they are not read."""
        known_names = set(self._list_column_names())
        for name in names:
            if name not in known_names:
                deviation = ReadDeviation(
                    kind=DeviationKind.DROPPED_COLUMN,
                    column=name,
                    file=file.name,
                    message=f"{self.first_file_name} does not have this column, so Hven does not read it",
                    remedy="if you need it, write a separate source entry for the files that have it",
                )
                self.context.report_deviation(deviation)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows file by file, in batches of limited length.

        Parameters
        ----------
        column_names
            Columns to read; None: all.
        row_limit
            Maximum number of rows; None: all.
        """
        if not self.files:  # no file was selected
            return
        requested_names = resolve_column_names(column_names, self._list_column_names(), self.files[0].name)
        file_column_names = [
            name for name in requested_names if name != ROW_NUMBER_COLUMN and name not in FILE_FACT_COLUMNS
        ]
        batches = (
            batch
            for file in self.files
            for batch in self._raise_if_changed_meanwhile(
                file, self._read_rows(file, requested_names, file_column_names, row_limit)
            )
        )
        yield from split_batches(batches, self.context.batch_row_limit, row_limit)

    def _raise_if_changed_meanwhile(
        self, file: DataFile, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a file, whose rows would mix two states if a program writes into it meanwhile."""
        before = _find_file_state(file)
        yield from batches
        after = _find_file_state(file)
        # whoever has opened a file can read it to its end, also if another file has its name now
        if before is None or after is None or after[0] != before[0] or after == before:
            return
        change_error = file.build_change_error()
        if after[1] <= before[1]:
            raise change_error
        message = "the file grew while Hven was reading it, so its last rows may be missing or incomplete"
        self.context.report_deviation(
            ReadDeviation(kind=DeviationKind.DROPPED_ROW, file=file.name, message=message, remedy=change_error.remedy)
        )
