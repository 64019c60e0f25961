"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from rights_matrix import HIDDEN, TABLE_ROUTE

QUERY_STRINGS = {
    "/search/{kind}": ["", "target_name=*zq*", "q=zqembargo"],
    "/search/{kind}/places": ["", "target_name=*zq*", "_of=here"],
    "/search/{kind}/picture": ["", "url=http://127.0.0.1:1/zqembargo.png&sign=0"],
    "/search/{kind}/ask": ["", *(f"_of=ivoa.obscore{more}" for more in ("", "&_wait=1&_WAIT=1", "&target_name=*zq*"))],
    "/search/{kind}/facets": ["", "_of=here", "_of=target_name", "_of=target_name&_like=zq"],
    "/meanwhile": [f"_from={start}&_to={stop}{more}" for start, stop in (("1999", "2999-01-02"), ("2030", "2030-01-02"), ("2998", "2999-02")) for more in ("", "&_but=obs.main")],
    f"{TABLE_ROUTE}/else": [f"_row=id{word}" for word in ("zqcalib", *HIDDEN, "nothing")],
}  # fmt: skip
REFUSED_WAYS = {"/search/{kind}/picture": "it fetches pictures of other sites, whose addresses a page has signed"}
