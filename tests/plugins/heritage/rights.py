"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/endpoints/{table}/{name}": ["", "note=note zqembargo", "brighter=30&RESPONSEFORMAT=csv"],
    "/endpoints/{table}/{name}/{rest:path}": [""],
    "/sitools/portal/projects": [""],
    "/sitools/portal/projects/{name:path}": [""],
}
ROUTE_CHOICES = {
    "/endpoints/{table}/{name}/{rest:path}": ("name}/{rest:path", ("set/count", "set/records", "set/nothing")),
    "/sitools/portal/projects/{name:path}": ("name:path", ("obs", "obs/datasets", "idzqembargo")),
}
TABLE_KEYS = {
    "endpoints": """\
    endpoints:
      obs: {path: /old/main, params: {note: {where: note = param.note}, brighter: {type: float64, where: mag < param.brighter}}, order: n, votable: {serialization: TABLEDATA}}
      page: {path: "/old/page/{ident}", like: page}
      set: {path: /old/set, like: sitools2}
"""
}
FILTERS = (
    "",
    "p[0]=LISTBOXMULTIPLE|project|p1|p2",
    "p[0]=NUMERIC_BETWEEN|mag|0|99",
    "p[0]=DATE_BETWEEN|release|1999-01-01|2999-01-02",
)
WAYS = {
    "old addresses": [
        "/old/main?note=note zqembargo",
        *(f"/old/page/id{word}" for word in ("zqcalib", "zqembargo", "zqcarl", "zqgroup", "zqnull", "nothing")),
        *(f"/old/set{what}?{said}" for what in ("", "/count", "/records", "/plugin02") for said in FILTERS),
        "/old/set/records?filter[0][columnAlias]=pi&filter[0][data][comparison]=LIKE&filter[0][data][value]=C*",
    ]
}
