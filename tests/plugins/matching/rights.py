"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

_TRIAL = "first=obs.main&second=obs.main&ra=67&dec=-43&sr=5"
QUERY_STRINGS = {
    "/match": ["", _TRIAL, f"{_TRIAL}&_json=1"],
    "/candidates/{table}": ["ID=idzqembargo", "ID=idzqembargo&CATALOGUE=obs"],
    "/candidates/{table}/capabilities": [""],
    "/match-limits/{table}": ["CATALOGUE=obs&RA=10&DEC=10&SR=1&RADIUS=1"],
    "/match-limits/{table}/capabilities": [""],
}
REFUSED_WAYS = {
    path: "no table here is a match: their rights are not tried yet" for path in QUERY_STRINGS if "{table}" in path
}
