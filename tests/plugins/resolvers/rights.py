"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/resolve": ["NAME=idzqembargo", "NAME=idzqopen", "NAME=Mars"],
    "/resolve/{name:path}": ["", "RESPONSEFORMAT=json"],
    "/cgi-bin/nph-sesame": ["idzqopen"],
    "/cgi-bin/nph-sesame/{options:path}": ["idzqopen"],
    "/cgi-bin/nph-sesame.jsonp": ["object=idzqopen"],
}
PATH_VALUES = {"options:path": "-oxpI/S"}
ROUTE_CHOICES = {"/resolve/{name:path}": ("name:path", ("idzqembargo", "idzqopen", "Mars"))}
STORE = {
    "resolver_names": "public facts of SIMBAD: plugins/resolvers/test_simbad_snapshot.py",
    "resolver_objects": "public facts of SIMBAD: plugins/resolvers/test_simbad_snapshot.py",
    "resolver_outages": "whether SIMBAD answers, for everybody: plugins/resolvers/test_simbad_snapshot.py",
}
PUBLIC_ROUTES = {
    "/resolve": "it finds names in rows that everybody may see",
    "/cgi-bin/nph-sesame": "it finds names in rows that everybody may see",
}
