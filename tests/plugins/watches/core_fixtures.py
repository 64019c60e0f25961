"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {
    f"plugins/watches/{name}.py": "the pages at /watches"
    for name in ("watch_definitions", "watch_pages", "watch_requests", "watch_store", "event_stream", "match_documents")
}
