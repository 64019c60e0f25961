"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/archives": "the downloads of files"}
