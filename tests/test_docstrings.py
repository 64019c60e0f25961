"""What others build on says what it takes, returns and raises."""

import pytest

from docstrings import every, figure, modules, room

TOLD = {
    "adql",
    "engines",
    "formats",
    "jobs",
    "model",
    "portal",
    "query",
    "services",
    "site",
    "testing",
}  # rooms of which this holds: it only grows
HELD = [one for one in modules() if room(one) in TOLD]


@pytest.mark.parametrize("module", HELD)
def test_docstrings_tell_parameters_units_results_and_errors(module):
    """`python tests/docstrings.py MODULE` prints what is missing."""
    assert {f"{at} {name}": lacks for (at, name), lacks in every(module).items() if lacks} == {}


def test_the_figure():
    told, of = figure(modules())
    print(f"{told} of {of} definitions of public modules tell all")
    assert told >= figure(HELD)[1] > 300
