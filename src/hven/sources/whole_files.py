"""A base class for plug-ins that read whole files.

What a package from outside inherits, so that it says which columns there are and reads one file.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

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
            Its `open()` returns its bytes, unpacked; `path` is where it lies.

        Yields
        ------
        batch
            Rows in the order of the file.
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
        first = 1
        for batch in self.read_file_batches(file):
            yield build_source_batch(
                column_names, {name: batch.column(name) for name in file_column_names}, batch.num_rows, first, file
            )
            first += batch.num_rows
        file.read_to_end()
        file.compute_sha256()  # of a reader that jumps about in it
