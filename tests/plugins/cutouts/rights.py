"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from rights_matrix import FILES

HIDDEN_WORDS = ("zqembargo", "zqcarl", "zqgroup", "zqnull")
QUERY_STRINGS = {
    "/collections/{name}/as/{form}/{path:path}": [""],
    "/collections/{name}/cube/{path:path}": ["", "slice=1", "spectrum=1 1", "RESPONSEFORMAT=html"],
    "/soda/sync": [
        *(f"TABLE=obs.main&ID=id{word}" for word in ("zqcalib", *HIDDEN_WORDS, "nothing")),
        "ID=ivo://vo.example/obs?idzqembargo",
    ],
    "/soda/capabilities": [""],
}
PATH_VALUES = {"form": "fits"}
ROUTE_CHOICES = dict.fromkeys(
    ("/collections/{name}/as/{form}/{path:path}", "/collections/{name}/cube/{path:path}"), ("path:path", FILES)
)
FILE_JOBS = {"soda": ("/soda/async", {"TABLE": "{collection}.main", "ID": "one", "CIRCLE": "10 20 1"})}
FILE_ADDRESSES = {"cut-outs": "/soda/sync?TABLE={collection}.main&ID=one&CIRCLE=10+20+1"}
KEPT_DIRECTORIES = {"cubes": "copies of files, asked as the file itself"}
