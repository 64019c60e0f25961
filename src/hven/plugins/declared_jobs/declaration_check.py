"""The check of declared job types, which loads what runs jobs only if the site declares a type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.errors import Fault
    from hven.model.settings import Settings


def find_declaration_faults(settings: Settings) -> Iterator[Fault]:
    """Find faults of the job types that the site declares.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    if settings.job_types_directory.is_dir():
        place = "hven.jobs.type_catalogue:find_declaration_faults"
        yield from plugins.load_named_object(place, "the check of job types")(settings)


__all__ = ["find_declaration_faults"]
