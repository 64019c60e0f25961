"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/operations/operations_page.py": "the page of operators"}

#: Pages whose YAML is no descriptor, and what it is.
OTHER_YAML_PAGES = {"prometheus": "configuration of Prometheus"}
