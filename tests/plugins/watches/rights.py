"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/watches": [""],
    "/watches/stream": ["seconds=0"],
    "/watches/{watch}": [""],
    "/watches/{watch}/unsubscribe": [""],
    "/watches/{watch}/events.atom": [""],
    "/watches/{watch}/voevents/{number:int}": [""],
    "/collections/{name}/{table}/watch": [""],
}
PATH_VALUES = {"watch": "0123456789abcdef", "number:int": "1"}
STORE = {
    "watches": "shown to the account alone: plugins/watches/test_pages.py",
    "watch_matches": "rows that the account sees at the time of delivery: plugins/watches/test_rights.py",
}
REFUSED_WAYS = {
    "/watches/{watch}": "a watch, for its account: test_pages.py",
    "/watches/{watch}/unsubscribe": "its links are signed, and sent by mail: test_pages.py",
    "/watches/{watch}/events.atom": "a watch, for its account: test_pages.py",
    "/watches/{watch}/voevents/{number:int}": "a watch, for its account: test_pages.py",
}
ACCOUNT_ROUTES = {
    "/watches": "what the account watches",
    "/watches/stream": "what the account's watches find",
    "/collections/{name}/{table}/watch": "the form, for accounts",
    "/watches/{watch}": "a watch of the account",
    "/watches/{watch}/events.atom": "the events of a watch of the account",
    "/watches/{watch}/voevents/{number:int}": "an event of a watch of the account",
}
