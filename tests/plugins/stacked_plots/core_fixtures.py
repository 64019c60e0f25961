"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

LINKED_PAGES = {"/plots": "the pages of tables with times"}
TRANSLATED_MODULES = {"plugins/stacked_plots": "the pages at /plots"}
