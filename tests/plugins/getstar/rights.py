"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

WORDS = ("zqcalib", "zqembargo", "zqcarl", "zqgroup", "zqnull", "nothing")
STARS = ["", *(f"star=id{word}&table=obs.main" for word in WORDS)]
QUERY_STRINGS = {"/getstar": STARS, "/sclwsGetStarProxy.php": STARS}
TABLE_KEYS = {"getstar": '    getstar: {names: ["{ident}"]}\n'}
WAYS = {"stars as JSON": [f"/getstar.json?star=id{word}&table=obs.main" for word in WORDS]}
