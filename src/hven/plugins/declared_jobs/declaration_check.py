"""The part of ``hven check`` for declared job types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import DescriptorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.errors import Fault
    from hven.model.settings import Settings


def find_declaration_faults(settings: Settings) -> Iterator[Fault]:
    """Yield the faults of all declarations, with file:line:column.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    if not settings.job_types_directory.is_dir():
        return
    # most sites have no declarations, and need not import what reads and runs them
    from hven.plugins.declared_jobs.declarations import DECLARED_JOB_TYPES  # noqa: PLC0415

    try:
        DECLARED_JOB_TYPES.load_job_types(settings)
    except DescriptorError as error:
        yield from error.faults
