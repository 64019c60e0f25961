"""Files below the directory of a descriptor."""

from __future__ import annotations

from hven.sources._reading.file_listing import find_data_files, refuse_escaping_link

__all__ = ["find_data_files", "refuse_escaping_link"]
