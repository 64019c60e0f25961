"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/federated_search": "searches over all tables of a standard"}
# pages that others link to
LINKED_PAGES = {"/search/epn": "the menu of all pages", "/search/obscore": "the menu of all pages"}
# forms that search several tables
SEARCH_FORMS = {"/search/epn": "all EPN-TAP tables"}
# pages for everybody, and what they show when they are ready
BROWSER_PAGES = {"/search/epn?target_name=Mars": "h1"}
# addresses whose answers come from rows
ROW_ADDRESSES = {
    "/search/obscore/ask": "one table",
    "/search/obscore/facets": "values of a column",
    "/search/obscore.json": "all tables",
}
# queries that addresses need to answer with more than a fault
VALID_QUERIES = {"/search/{kind}/ask": b"_of=here", "/search/{kind}/facets": b"_of=here"}
# sections in the panel of a row
ROW_SECTIONS = {".what-else": "rows of other tables at its time and place"}
# what pages of time series show of other tables
CONCURRENT_SEARCHES = {"/meanwhile": "rows of other tables at the same time"}
