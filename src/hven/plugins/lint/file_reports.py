"""Reports on files that `hven lint` validates. Other packages validate them: the extension point ``lint.files``.

A module of this point has ``validate_file(path)``. It returns a `FileLintReport`, or None if the file is of another
kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.sources import RejectedRow

FILES_POINT = "lint.files"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLintReport:
    """What is wrong with a file.

    Attributes
    ----------
    item_name
        What the file contains, in the singular: ``feature``.
    item_count
        Number of these items.
    rejects
        The items that are wrong.
    document_error
        What is wrong with the file as a whole; empty: nothing.
    """

    item_name: str
    item_count: int
    rejects: Sequence[RejectedRow]
    document_error: str = ""


def validate_file(path: Path) -> FileLintReport:
    """Validate a file by the first package that knows its kind.

    Parameters
    ----------
    path
        Path of the file.

    Raises
    ------
    UsageError
        No package in use validates such a file.
    """
    for module in plugins.load_extensions(FILES_POINT):
        report: FileLintReport | None = module.validate_file(path)
        if report is not None:
            return report
    raise UsageError(
        f"none of the plug-in packages in use can validate {path.name}",
        remedy="give the address of a service, or add a package that validates such files",
    )
