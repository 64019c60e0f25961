"""Levels: who sees which rows of a table, who knows of their files, who takes them.

And what they are for a reader now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# of products, by the names that ObsCore, EPN-TAP and DataLink give them
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
    """Who sees which rows of a table, who may know of their files, and who may take these.

    Conditions over the row and the reader.

    Attributes
    ----------
    rows
        Who sees a row; None: everybody.
    files
        Who may know that it has files; None: who sees it.
    take
        Who may take them; None: who may know of them.
    columns
        That tell of files; None: those with the names and UCDs of standards.
    path
        The column with the path of a row's file below the collection, where files are published with it.
    contact
        Whom to ask.
    """

    rows: str | None = None
    files: str | None = None
    take: str | None = None
    columns: tuple[str, ...] | None = None
    path: str | None = None
    contact: str | None = None

    def list_file_columns(self, columns: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Name the columns that tell of files.

        Parameters
        ----------
        columns
            Name and UCD of each.

        Returns
        -------
        names
            The columns that this policy names; if it names none, those with the name or the UCD of a file's address.
        """
        if self.files is None:
            return frozenset()
        names = self.columns
        if names is None:
            names = tuple(
                name
                for name, ucd in columns
                if name.lower() in _FILE_COLUMN_NAMES
                or any(f";{file_ucd}" in f";{ucd}".lower() for file_ucd in _FILE_UCDS)
            )
        return frozenset((*names, *((self.path,) if self.path else ())))


class FileRestriction(NamedTuple):
    """The embargo of a file for a reader.

    Attributes
    ----------
    expiry_text
        When the embargo ends, as ISO text; empty if that is unknown or not shown.
    contact
        Whom to ask for access; empty if that is unknown or not shown.
    """

    expiry_text: str
    contact: str


class BoundAccessPolicy(Protocol):
    """The levels of a table, bound to its rows: see `hven.site.auth`."""

    def find_row_condition(self, principal: Any) -> tuple[Any, int, float]:
        """Return what a reader's rows meet.

        Parameters
        ----------
        principal
            The reader.

        Returns
        -------
        condition
            A bound tree; None: every row.
        since, until
            When it is that, in microseconds since 1970; the second may be infinite.
        """

    def find_validity_period(self, principal: Any) -> tuple[int, float]:
        """Return from when until when nothing changes for a reader, in microseconds since 1970.

        Parameters
        ----------
        principal
            The reader.
        """

    def build_column_masks(self, principal: Any) -> Mapping[str, Any]:
        """Return what a reader sees instead of columns: bound trees by the columns' names.

        Parameters
        ----------
        principal
            The reader.
        """

    def find_file_condition(self, principal: Any) -> Any:
        """Return what the rows meet whose files a reader may take: a bound tree; None: every row.

        Parameters
        ----------
        principal
            The reader.
        """

    def find_restricted_values(self, principal: Any, column: str, values: Sequence[str]) -> set[str]:
        """Return which values of a column have a row whose file a reader may not take.

        Parameters
        ----------
        principal
            The reader.
        column
            That names files.
        values
            Of it.
        """

    def find_file_restriction(self, principal: Any, values_by_column: Mapping[str, Any]) -> FileRestriction | None:
        """Return until when a reader may not take the files of rows, and whom to ask; None: they may.

        Parameters
        ----------
        principal
            The reader.
        values_by_column
            Columns of the rows, and their values.
        """


__all__ = ["BoundAccessPolicy", "FileRestriction", "RowAccessPolicy"]
