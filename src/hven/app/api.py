"""What verbs of plug-ins use of the command line."""

from __future__ import annotations

from hven.app._cli.context import load_site_settings, open_site, print_json

__all__ = ["load_site_settings", "open_site", "print_json"]
