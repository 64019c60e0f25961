"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {
    f"plugins/notifications/{name}.py": "the pages at /notifications" for name in ("email_addresses", "portal_pages")
}
