"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from rights_matrix import HIDDEN, TABLE_ROUTE

REMOTE_TABLE = "/search/{kind}/tables/{remote}/{table}"
QUERY_STRINGS = {
    "/search/{kind}": ["", "target_name=*zq*", "q=zqembargo"],
    "/search/{kind}/places": ["", "target_name=*zq*", "_of=here"],
    "/search/{kind}/picture": ["", "url=http://127.0.0.1:1/zqembargo.png&sign=0"],
    "/search/{kind}/ask": ["", *(f"_of=ivoa.obscore{more}" for more in ("", "&_wait=1&_WAIT=1", "&target_name=*zq*"))],
    "/search/{kind}/facets": ["", "_of=here", "_of=target_name", "_of=target_name&_like=zq"],
    "/meanwhile": [f"_from={start}&_to={stop}{more}" for start, stop in (("1999", "2999-01-02"), ("2030", "2030-01-02"), ("2998", "2999-02")) for more in ("", "&_but=obs.main")],
    f"{TABLE_ROUTE}/else": [f"_row=id{word}" for word in ("zqcalib", *HIDDEN, "nothing")],
    REMOTE_TABLE: ["target_name=*zq*"],
    **{f"{REMOTE_TABLE}/{name}": ["target_name=*zq*", "_row=%5B%22idzqembargo%22%5D"] for name in ("rows", "row", "count", "take", "download")}, **{f"{REMOTE_TABLE}/{name}": ["_row=%5B%22idzqembargo%22%5D"] for name in ("facets", "names", "place", "header", "else")},
}  # fmt: skip
PATH_VALUES = {"remote": "nowhere"}
POST_BODIES = {f"{REMOTE_TABLE}/{name}": ["_key=%5B%22idzqembargo%22%5D"] for name in ("take", "download")}
NO_REMOTE = "it asks services that the site file names, and no table of this site"
REFUSED_WAYS = {
    "/search/{kind}/picture": "it fetches pictures of other sites, whose addresses a page has signed",
    **dict.fromkeys(
        [
            REMOTE_TABLE,
            *(
                f"{REMOTE_TABLE}/{name}"
                for name in ("rows", "row", "count", "take", "download", "facets", "names", "place", "header", "else")
            ),
        ],
        NO_REMOTE,
    ),
    **dict.fromkeys([f"POST {path}" for path in POST_BODIES], NO_REMOTE),
}
