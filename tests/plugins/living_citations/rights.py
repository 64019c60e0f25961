"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/results/{ident}/changes": [""], "/cited-results/{name}": [""]}
STORE = {
    "citation_findings": "about public rows alone: plugins/living_citations/test_living_citations.py",
    "citation_readers": "shown to the account alone: plugins/living_citations/test_living_citations.py",
    "citation_rests": "a time",
}
REFUSED_WAYS = {
    "/results/{ident}/changes": "the site of the tests has looked at no result yet: test_living_citations.py",
}
