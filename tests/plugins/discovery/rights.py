"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/search": [f"q={word}" for word in ("zqembargo", "zqcalib", "zqcarl", "obs", "idzqcarl", "carl", "observatoins")],
    "/search.json": ["", "q=zqembargo"],
    "/search/suggest": ["", *(f"q={word}" for word in ("zqembargo", "zqcalib", "zqcarl", "idzqcarl", "carl"))],
}
PUBLIC_ROUTES = {
    "/search?q=idzqcarl": "a whole name is also a place, which is found in rows that everybody may see",
    "/search/suggest?q=idzqcarl": "the same",
}
KEPT_DIRECTORIES = {"words": "words of public tables and by scope, for suggestions: rights_matrix.py"}
