"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from urllib.parse import quote

AREAS = (
    "mag;n;0 0, 99 0, 99 1e9, 0 1e9",
    "release;mag;2030-01-01 0, 2999-01-01 0, 2999-01-01 99",
    "nope;mag;0 0, 1 0, 1 1",
)
WAYS = {
    "areas of plots": [
        f"/collections/obs/main{pane}_area={quote(area)}"
        for pane in ("?", "/rows?", "/count?", "/facets?", "/points?_x=mag&_y=n&", "/download?_as=csv&_all=1&")
        for area in AREAS
    ]
}
