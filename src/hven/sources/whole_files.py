"""A base class for plug-ins that read whole files.

What a package from outside inherits, so that it says which columns there are and reads one file.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.sources import ROW_NUMBER_COLUMN
from hven.sources._reading.data_files import DataFile, FileOptions, build_source_batch
from hven.sources._reading.file_rows import FileByFileSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

__all__ = ["DataFile", "FileOptions", "WholeFileSource"]


class WholeFileSource(FileByFileSource):
    """The rows of files, one file after the other.

    Patterns, packed files, links, checksums, facts of files, numbers of rows, and reading some files alone come from
    here.

    Parameters
    ----------
    options
        Of the kind: a subclass of `FileOptions`, which has `files` and `ignore`.
    context
        What `open` was given.

    Raises
    ------
    SourceError
        No such file, or a link that leads out of the collection.
    """

    @abstractmethod
    def read_file_batches(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        """Read one file: all columns, with the types that `list_columns` returns.

        Parameters
        ----------
        file
            Its `open_stream()` opens it for reading, unpacked; `path` is where it lies.

        Yields
        ------
        batch
            Rows in the order of the file. If a file has rows that the batches leave out, a column
            `hven.sources.ROW_NUMBER_COLUMN` (int64) has the numbers of the rows, from 1.
        """

    def _list_column_names(self) -> Sequence[str]:
        return [column.name for column in self.list_columns()]

    def _read_rows(
        self,
        file: DataFile,
        column_names: Sequence[str],
        file_column_names: Sequence[str],
        row_limit: int | None,  # noqa: ARG002
    ) -> Iterator[pa.RecordBatch]:
        row_count = 0
        for batch in self.read_file_batches(file):
            row_numbers: pa.Array | int = row_count + 1
            if ROW_NUMBER_COLUMN in batch.schema.names:
                row_numbers = batch.column(ROW_NUMBER_COLUMN)
            values = {name: batch.column(name) for name in file_column_names}
            yield build_source_batch(column_names, values, batch.num_rows, row_numbers, file)
            row_count += batch.num_rows
        file.read_to_end()
        file.compute_sha256()  # of a reader that jumps about in it
