"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {
    f"plugins/submissions/{name}.py": "the pages at /submissions"
    for name in (
        "file_checkers",
        "published_rows",
        "staging",
        "submission_pages",
        "submission_requests",
        "submission_store",
        "submission_workflow",
    )
}
#: Pages whose YAML is a part of a key.
OTHER_YAML_PAGES = {"submit-files": "parts of the key `submissions`"}
