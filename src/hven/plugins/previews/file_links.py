"""Say that rows with files lead to pictures of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.model.table import LinkTemplate, Table


def describe_no_service(table: Table) -> LinkTemplate | None:  # noqa: ARG001  (the contract of `file_services`)
    """Return None: clients follow the links of a row to its pictures, and need no description of the service."""
    return None
