"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

WORDS = ("zqcalib", "zqembargo", "zqcarl", "zqgroup", "zqnull", "nothing")
ROUTE = "/collections/{name}/{table}/quantities"
QUERY_STRINGS = {ROUTE: ["", *(f'_row=["id{word}"]' for word in WORDS)]}
WAYS = {
    "quantities as JSON": [f'/collections/obs/main/quantities.json?_row=["id{word}"]' for word in WORDS],
}
