"""Documents of VOSI, and the capabilities of services, as registry records also have them."""

from __future__ import annotations

from hven.services._vosi import (
    MEDIA_TYPE,
    Capability,
    format_time,
    list_security_methods,
    write_availability,
    write_capabilities,
    write_capability,
    write_schema_xml,
    write_vosi_table_document,
)

__all__ = [
    "MEDIA_TYPE",
    "Capability",
    "format_time",
    "list_security_methods",
    "write_availability",
    "write_capabilities",
    "write_capability",
    "write_schema_xml",
    "write_vosi_table_document",
]
