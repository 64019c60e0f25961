"""What verbs of plug-ins use of the command line."""

from __future__ import annotations

from hven.app._cli.context import format_size, load_site_settings, open_site, print_json, print_table

__all__ = ["format_size", "load_site_settings", "open_site", "print_json", "print_table"]
