"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/discovery": "the search by words"}
# pages that search for words
WORD_PAGES = {"/search?q={words}": "the search of the whole site"}
# pages that others link to
LINKED_PAGES = {"/search": "subjects of collections"}
# pages for everybody, and what they show when they are ready
BROWSER_PAGES = {"/search?q=cubes": "h1"}
# queries that addresses need to answer with more than a fault
VALID_QUERIES = {"/search": b"q=odd"}
