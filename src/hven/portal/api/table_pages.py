"""What a package adds to the pages of tables, besides templates and links."""

from __future__ import annotations

from hven.portal._views.table_extensions import TablePageExtension

__all__ = ["TablePageExtension"]
