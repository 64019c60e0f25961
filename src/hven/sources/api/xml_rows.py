"""Rows from elements of XML documents."""

from __future__ import annotations

from hven.sources._reading.xml_rows import XmlFieldOptions, XmlSource, find_local_name

__all__ = [
    "XmlFieldOptions",
    "XmlSource",
    "find_local_name",
]
