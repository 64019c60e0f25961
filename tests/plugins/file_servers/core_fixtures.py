"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

from typing import Any

# kinds of sources that read files on servers by this package, with what they need beside the address
HTTP_SOURCE_OPTIONS: dict[str, dict[str, Any]] = {
    "fits": {"mode": "header", "files": "a.fits"},
    "product": {"mode": "header", "files": "a.fits"},
    "files": {"adql": "SELECT path FROM a.b", "checksums": True},
}
