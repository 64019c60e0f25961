"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from urllib.parse import urlencode

SPANS = (("1999", "2999-01-02"), ("2030", "2030-01-02"))
PANELS = ("obs_main;mag", "obs_main;twice=mag*2", "table:obs.main")
STATES = [
    urlencode({"_from": start, "_to": stop, "panel": panel}) for start, stop in SPANS for panel in PANELS
]  # fmt: skip
QUERY_STRINGS = {
    "/plots": ["", "q=zq", *STATES, *(urlencode({"panel": panel}) for panel in PANELS)],
    "/plots/{file}": [*STATES, *(urlencode({"panel": panel}) for panel in PANELS)],
}
ROUTE_CHOICES = {"/plots/{file}": ("file", ("plot.svg", "plot.png", "plot.csv", "plot.cdf", "plot.ipynb"))}
