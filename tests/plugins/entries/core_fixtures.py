"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {
    f"plugins/entries/{name}.py": "the pages at /entries and /comments"
    for name in (
        "comment_pages",
        "comment_store",
        "contribution_requests",
        "entry_forms",
        "entry_pages",
        "entry_store",
        "entry_workflow",
    )
}
