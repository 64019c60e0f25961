"""What verbs of plug-ins use of the command line."""

from __future__ import annotations

from hven.app._cli.context import (
    SITE_FILE,
    format_command,
    format_size,
    format_time,
    load_site_settings,
    open_site,
    print_json,
    print_table,
)
from hven.app._cli.progress import IngestProgressBar, print_percentage

__all__ = [
    "SITE_FILE",
    "IngestProgressBar",
    "format_command",
    "format_size",
    "format_time",
    "load_site_settings",
    "open_site",
    "print_json",
    "print_percentage",
    "print_table",
]
