"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {
    f"plugins/joint_search/{name}.py": "the pages at /joint-search" for name in ("joint_queries", "joint_search_page")
}
