"""The archives of this package, as pages and other services use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.archives.archive_plans import ArchivePlan, build_too_many_files_error, plan_archive
from hven.plugins.archives.file_addresses import read_file_addresses
from hven.plugins.archives.settings import get_archive_limits
from hven.services import scripts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

    from hven.model.settings import Settings
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.services.file_archives import FileArchiver


class ZipAndTarArchiver:
    """A `hven.services.file_archives.FileArchiver`, which describes its methods."""

    def get_max_files(self, settings: Settings) -> int:
        """Return how many files an archive may have."""
        return get_archive_limits(settings).archive_files

    def read_addresses(
        self,
        context: ServiceContext,
        result: QueryResult,
        base_url: str,
        columns: Sequence[str] = (),
        link_template: str | None = None,
    ) -> list[str]:
        """Read the addresses to which the rows of a result lead."""
        if link_template:
            addresses = [
                address
                for batch in result.iterate_batches()
                for address in scripts.fill_link_template(batch, link_template)
                if address
            ]
        else:
            addresses = read_file_addresses(result, base_url, columns)
        if result.overflow:
            raise build_too_many_files_error(context)
        return addresses

    def plan(self, context: ServiceContext, request: Request, addresses: Iterable[str]) -> ArchivePlan:
        """Find the files of addresses, and which of them the reader may access."""
        return plan_archive(context, request, addresses)


ARCHIVER: FileArchiver = ZipAndTarArchiver()
