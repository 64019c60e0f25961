"""Describe access policies: who sees which rows of a table, who knows of their files, and who may take these.

A policy that is bound to the rows of a table tells what a reader may do now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# columns of products, by their names in ObsCore, EPN-TAP and DataLink
_FILE_COLUMN_NAMES = {
    "access_url",
    "access_md5",
    "access_estsize",
    "thumbnail_url",
    "preview_url",
    "datalink_url",
    "file_name",
    "file_path",
}
_FILE_UCDS = ("meta.ref.url", "meta.file")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAccessPolicy:
    """Describe who sees which rows of a table, who may know of their files, and who may take these.

    Conditions are over the row and the reader.

    Attributes
    ----------
    rows
        Condition of readers who see a row; None for everybody.
    files
        Condition of readers who may know that it has files; None for those who see it.
    take
        Condition of readers who may take the files; None for those who may know of them.
    columns
        Columns that reveal files; None for those with the names and UCDs of standards.
    path
        The column with the path of a row's file below the collection, where files are published with it.
    contact
        Contact for access.
    """

    rows: str | None = None
    files: str | None = None
    take: str | None = None
    columns: tuple[str, ...] | None = None
    path: str | None = None
    contact: str | None = None

    def list_file_revealing_columns(self, columns: Iterable[tuple[str, str]]) -> frozenset[str]:
        """List the columns that reveal files.

        Parameters
        ----------
        columns
            Name and UCD of each column.

        Returns
        -------
        names
            The columns that this policy names; otherwise those with the name or the UCD of a file's address.
        """
        if self.files is None:
            return frozenset()
        names = set(self.columns or ())
        if self.columns is None:
            names = {name for name, ucd in columns if _is_file_column(name, ucd)}
        if self.path:
            names.add(self.path)
        return frozenset(names)


def _is_file_column(column_name: str, ucd: str) -> bool:
    ucd_words = f";{ucd}".lower()
    return column_name.lower() in _FILE_COLUMN_NAMES or any(f";{file_ucd}" in ucd_words for file_ucd in _FILE_UCDS)


class FileEmbargo(NamedTuple):
    """Describe the embargo of a file for a reader.

    Attributes
    ----------
    expiry_text
        End of the embargo, as ISO text; empty if it is unknown or not shown.
    contact
        Contact for access; empty if it is unknown or not shown.
    """

    expiry_text: str
    contact: str


class BoundAccessPolicy(Protocol):
    """Define the access policy of a table, bound to its rows: see `hven.site.auth`."""

    def find_row_condition(self, principal: Any) -> tuple[Any, int, float]:
        """Return the condition that a reader's rows meet.

        Parameters
        ----------
        principal
            The reader.

        Returns
        -------
        condition
            A bound tree; None for every row.
        since, until
            The period of validity, in microseconds since 1970; the second may be infinite.
        """

    def find_validity_period(self, principal: Any) -> tuple[int, float]:
        """Return the period in which a reader's access does not change, in microseconds since 1970.

        Parameters
        ----------
        principal
            The reader.
        """

    def build_column_masks(self, principal: Any) -> Mapping[str, Any]:
        """Return bound trees that replace columns for a reader, by the names of the columns.

        Parameters
        ----------
        principal
            The reader.
        """

    def find_file_condition(self, principal: Any) -> Any:
        """Return the condition of rows whose files a reader may take: a bound tree; None for every row.

        Parameters
        ----------
        principal
            The reader.
        """

    def find_values_with_restricted_files(self, principal: Any, column: str, values: Sequence[str]) -> set[str]:
        """Return the values of a column that have a row whose file the reader may not take.

        Parameters
        ----------
        principal
            The reader.
        column
            A column that names files.
        values
            Values of the column.
        """

    def find_file_embargo(self, principal: Any, values_by_column: Mapping[str, Any]) -> FileEmbargo | None:
        """Return the embargo of the files of rows for a reader; None if the reader may take them.

        Parameters
        ----------
        principal
            The reader.
        values_by_column
            Columns of the rows, and their values.
        """
