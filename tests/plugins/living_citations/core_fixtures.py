"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {
    f"plugins/living_citations/{name}.py": "the pages of cited results" for name in ("citation_pages", "citation_store")
}
