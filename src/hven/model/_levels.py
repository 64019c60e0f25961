"""Levels: who sees which rows of a table, who knows of their files, who takes them; and what they are for a reader now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# of products, by the names that ObsCore, EPN-TAP and DataLink give them
_FILE = {
    "access_url",
    "access_md5",
    "access_estsize",
    "thumbnail_url",
    "preview_url",
    "datalink_url",
    "file_name",
    "file_path",
}
_FILE_UCD = ("meta.ref.url", "meta.file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Who sees which rows of a table, who may know of their files, and who may take these: conditions over the row and the reader.

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

    def telling(self, columns: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Name the columns that tell of files.

        Parameters
        ----------
        columns
            Name and UCD of each.
        """
        if self.files is None:
            return frozenset()
        found = self.columns
        if found is None:
            found = tuple(
                name
                for name, ucd in columns
                if name.lower() in _FILE or any(f";{one}" in f";{ucd}".lower() for one in _FILE_UCD)
            )
        return frozenset((*found, *((self.path,) if self.path else ())))


class Lock(NamedTuple):
    """Of a file: until when, as ISO text, and whom to ask; empty: that is not known, or not told."""

    until: str
    contact: str


class Rights(Protocol):
    """The levels of a table, bound to its rows: see `hven.site.auth`."""

    def condition(self, who: Any) -> tuple[Any, int, float]:
        """Return what a reader's rows meet.

        Parameters
        ----------
        who
            The reader.

        Returns
        -------
        condition
            A bound tree; None: every row.
        since, until
            When it is that, in microseconds since 1970; the second may be infinite.
        """

    def span(self, who: Any) -> tuple[int, float]:
        """Return from when until when nothing changes for a reader, in microseconds since 1970.

        Parameters
        ----------
        who
            The reader.
        """

    def masks(self, who: Any) -> Mapping[str, Any]:
        """Return what a reader sees instead of columns: bound trees by the columns' names.

        Parameters
        ----------
        who
            The reader.
        """

    def takes(self, who: Any) -> Any:
        """Return what the rows meet whose files a reader may take: a bound tree; None: every row.

        Parameters
        ----------
        who
            The reader.
        """

    def shut(self, who: Any, column: str, values: Sequence[str]) -> set[str]:
        """Return which values of a column have a row whose file a reader may not take.

        Parameters
        ----------
        who
            The reader.
        column
            That names files.
        values
            Of it.
        """

    def locked(self, who: Any, where: Mapping[str, Any]) -> Lock | None:
        """Return until when a reader may not take the files of rows, and whom to ask; None: they may.

        Parameters
        ----------
        who
            The reader.
        where
            Columns of the rows, and their values.
        """


__all__ = ["Levels", "Lock", "Rights"]
