"""A source of files of one's own kind: what a package from outside inherits, so that it says which columns there are and reads one file."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.sources._reading.filerows import FileRows
from hven.sources._reading.files import DataFile, FileOptions, assemble

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

__all__ = ["DataFile", "FileOptions", "WholeFiles"]


class WholeFiles(FileRows):
    """The rows of files, one file after the other: patterns, packed files, links, checksums, facts of files, numbers of rows, and reading some files alone come from here.

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
    def rows(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        """Read one file: all columns, of the types that `columns` says.

        Parameters
        ----------
        file
            Its `open()` returns its bytes, unpacked; `path` is where it lies.

        Yields
        ------
        batch
            Rows in the order of the file.
        """

    def _names(self) -> Sequence[str]:
        return [column.name for column in self.columns()]

    def _rows(
        self,
        file: DataFile,
        names: Sequence[str],
        real: Sequence[str],
        limit: int | None,  # noqa: ARG002
    ) -> Iterator[pa.RecordBatch]:
        first = 1
        for batch in self.rows(file):
            yield assemble(names, {name: batch.column(name) for name in real}, batch.num_rows, first, file)
            first += batch.num_rows
        file.finish()
        file.hash_whole()  # of a reader that jumps about in it
