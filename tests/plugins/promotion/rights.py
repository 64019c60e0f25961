"""What the tests of rights must know of this package (`tests/package_rights.py`); test_remote_promotion.py tries it."""

QUERY_STRINGS = {
    "/promotions": [""],
    "/promotions/{name}": [""],
    "/promotions/{name}/files/{path:path}": [""],
    "/promotions/{name}/{table}/hashes": [""],
    "/promotions/{name}/{table}/rows": [""],
}
ACCOUNT_ROUTES = dict.fromkeys(QUERY_STRINGS, "a session is not enough: a token is needed")
REFUSED_WAYS = dict.fromkeys(QUERY_STRINGS, "only accounts of targets may fetch collections: test_remote_promotion.py")
