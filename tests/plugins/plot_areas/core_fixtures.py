"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

TRANSLATED_MODULES = {"plugins/plot_areas": "searches in areas of plots"}
