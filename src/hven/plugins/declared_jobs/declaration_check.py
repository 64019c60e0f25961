"""The part of ``hven check`` for declared job types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import DescriptorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.errors import Fault
    from hven.model.settings import Settings


def find_declaration_faults(settings: Settings) -> Iterator[Fault]:
    """Yield the faults of all declarations, also those of packages with other kinds of them, with file:line:column.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    if not settings.job_types_directory.is_dir():
        return
    # most sites have no declarations, and need not import what reads and runs them
    for _, provider in plugins.iterate_package_objects("job_providers"):
        try:
            provider.load_job_types(settings)
        except DescriptorError as error:
            yield from error.faults
