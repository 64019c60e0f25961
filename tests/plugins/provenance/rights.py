"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

WORDS = ("zqcalib", "zqembargo", "zqcarl", "zqgroup", "zqnull", "nothing")
IDS = (
    "collection/obs",
    "table/obs.main",
    "table/obs.bright",
    "table/ivoa.obscore",
    "release/obs/R4",
    "snapshot/{first}",
)
FORMATS = ("PROV-JSON", "PROV-JSONLD", "PROV-N", "PROV-XML", "PROV-SVG", "HTML")
VALUES_ROUTE = "/collections/{name}/{table}/provenance"
QUERY_STRINGS = {
    "/prov": [
        *(f"RESPONSEFORMAT={name}" for name in FORMATS),
        *(f"ID={record_id}&DEPTH=ALL&DESCRIPTIONS=1&DIRECTION={way}" for record_id in IDS for way in ("BACK", "FORTH")),
        *(f"ID=row/obs.main/id{word}&DEPTH=ALL" for word in WORDS),
        *(f"ID=row/obs.bright/id{word}&RESPONSEFORMAT=HTML" for word in WORDS),
        *(f"ID=row/obs.main/id{word}&DIRECTION=FORTH" for word in WORDS),
    ],
    VALUES_ROUTE: [f'_row=["id{word}"]{more}' for word in WORDS for more in ("", "&_column=note")],
}
WAYS = {
    "origins of values as JSON": [f'/collections/obs/main/provenance.json?_row=["id{word}"]' for word in WORDS],
}
# they tell numbers and files of a table only to users who see all its rows
DIFFERING_ROUTES = {"/prov": "it tells numbers and files"}
