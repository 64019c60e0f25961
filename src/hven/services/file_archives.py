"""Archives of the files to which rows lead: what services and pages use of the plug-in package that writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.settings import Settings
    from hven.query import QueryResult
    from hven.services.face import ServiceContext


class FileArchive(Protocol):
    """An archive whose files are known, and which is not written yet."""

    @property
    def file_count(self) -> int:
        """Number of files in the archive."""
        ...

    @property
    def missing_count(self) -> int:
        """Number of requested files that are not in it."""
        ...

    @property
    def total_bytes(self) -> int:
        """Bytes of its files."""
        ...

    def answer(self, request: Request, kind: str, name: str, readme_lines: Sequence[tuple[str, str]]) -> Response:
        """Build the response: the archive, or a range of it.

        Parameters
        ----------
        request
            A GET, HEAD or POST request.
        kind
            The kind of archive: ``zip``.
        name
            Name of the archive without extension.
        readme_lines
            Names and texts that describe the archive in it.

        Returns
        -------
        response
            The archive with its length; or 304 and 416 as in RFC 9110.
        """
        ...


class FileArchiver(Protocol):
    """What makes archives; the place of such an object is in `hven.model.plugins.PluginPackage.file_archivers`."""

    def get_max_files(self, settings: Settings) -> int:
        """Return how many files an archive may have: a query for them must not request more rows.

        Parameters
        ----------
        settings
            Settings of the site.
        """
        ...

    def read_addresses(
        self,
        context: ServiceContext,
        result: QueryResult,
        base_url: str,
        columns: Sequence[str] = (),
        link_template: str | None = None,
    ) -> list[str]:
        """Read the addresses to which the rows of a result lead.

        Parameters
        ----------
        context
            Service context of the site.
        result
            The result, whose rows are read.
        base_url
            Address of the site, without a final slash.
        columns
            Names of the columns with addresses; empty: the one that leads to files.
        link_template
            Template of an address that the values of each row fill (`hven.services.scripts.fill_link_template`); None:
            the columns contain addresses.

        Returns
        -------
        addresses
            Addresses for `plan`.

        Raises
        ------
        ParamError
            There is no such column.
        TooLargeError
            The result was cut.
        """
        ...

    def plan(self, context: ServiceContext, request: Request, addresses: Iterable[str]) -> FileArchive:
        """Find the files of addresses, and which of them the reader may access.

        Parameters
        ----------
        context
            Service context of the site.
        request
            Request of the client.
        addresses
            Addresses of files of this site, of lists of links of its rows, or of files elsewhere.

        Returns
        -------
        archive
            Each file once, in the order of the addresses.

        Raises
        ------
        TooLargeError
            There are more files, or bytes, than the settings allow.
        """
        ...


@plugins.cache_until_selection
def load_file_archivers() -> Mapping[str, FileArchiver]:
    """Load what the packages in use have to make archives, by the kind of archive."""
    return dict(plugins.iterate_package_objects("file_archivers"))
