"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/search": [f"q={word}" for word in ("zqembargo", "zqcalib", "obs", "idzqcarl", "carl", "observatoins")],
    "/search.json": ["", "q=zqembargo"],
    "/search/suggest": ["", *(f"q={word}" for word in ("zqembargo", "zqcalib", "idzqcarl", "carl"))],
}
KEPT_DIRECTORIES = {"words": "words of public tables and by scope, for suggestions: rights_matrix.py"}
