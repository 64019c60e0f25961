"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

WFS_FEATURES = "SERVICE=WFS&REQUEST=GetFeature&TYPENAMES=ivoa.obscore&OUTPUTFORMAT=json"
DOCUMENTS = ("", "/api", "/api.html", "/children", "/collections", "/conformance", "/queryables")
QUERY_STRINGS = {
    **{f"/stac{path}": [""] for path in DOCUMENTS},
    "/stac/search": ["limit=1000", "limit=1000&sortby=-id", "filter=target_name LIKE '%25zq%25'"],
    "/stac/collections/{collection}": [""],
    "/stac/collections/{collection}/queryables": [""],
    "/stac/collections/{collection}/items": ["limit=1000"],
    "/stac/collections/{collection}/items/{item:path}": [""],
    "/wfs": [
        "SERVICE=WFS&REQUEST=GetCapabilities",
        WFS_FEATURES,
        f"{WFS_FEATURES}&RESULTTYPE=hits",
        WFS_FEATURES.replace("json", "gml"),
    ],
}
POST_BODIES = {
    "/stac/search": [
        '{"limit": 1000}',
        '{"limit": 1000, "collections": ["ivoa.obscore"], "sortby": [{"field": "id", "direction": "desc"}]}',
        '{"filter": {"op": "like", "args": [{"property": "target_name"}, "%zq%"]}}',
        '{"ids": ["ivo://example.org/obs?idzqembargo", "ivo://example.org/obs?idzqcarl"]}',
    ],
    "/wfs": [WFS_FEATURES, f"{WFS_FEATURES}&RESULTTYPE=hits", f"{WFS_FEATURES}&SORTBY=target_name"],
}
PATH_VALUES = {"collection": "ivoa.obscore"}
_ITEMS = tuple(f"ivo%3A%2F%2Fexample.org%2Fobs%3Fid{word}" for word in ("zqembargo", "zqcalib", "zqcarl", "nothing"))
ROUTE_CHOICES = {"/stac/collections/{collection}/items/{item:path}": ("item:path", _ITEMS)}
