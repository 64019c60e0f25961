"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/wms/{collection}": ["REQUEST=GetCapabilities", "REQUEST=GetLegendGraphic&LAYER=x"],
    "/wcs/{collection}": [
        "REQUEST=GetCapabilities",
        "REQUEST=DescribeCoverage&COVERAGE=x",
        "REQUEST=GetCoverage&COVERAGEID=x",
    ],
    "/wmts/{collection}": ["REQUEST=GetCapabilities"],
    "/wmts/{collection}/1.0.0/WMTSCapabilities.xml": [""],
    "/wmts/{collection}/1.0.0/{layer}/default/{set}/{level:int}/{row:int}/{column:int}.png": [""],
    "/maps": [""],
    "/maps/{body}": [""],
    "/maps/{body}/places": [""],
    "/maps.json": [""],
    "/maps/{body}.json": [""],
    "/maps/{body}/value": ["LAYER=x/y&LON=1&LAT=2"],
}
PATH_VALUES = {
    "layer": "nothing",
    "set": "MarsGeographic",
    "level:int": "0",
    "row:int": "0",
    "column:int": "0",
    "body": "Mars",
}
REFUSED_WAYS = {
    path: "no rasters here: test_body_pages.py tries layers whose readers are few"
    for path in QUERY_STRINGS
    if path not in ("/maps", "/maps.json", "/maps/{body}/places")
}
