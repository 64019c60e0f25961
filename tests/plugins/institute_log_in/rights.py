"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/login/oidc/{name}": [""], "/login/oidc/{name}/back": [""]}
REFUSED_WAYS = dict.fromkeys(QUERY_STRINGS, "no provider of OpenID Connect here")
