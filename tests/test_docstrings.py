"""What others build on says what it takes, returns and raises: every public module that another room or a plug-in imports."""

from docstrings import count_complete, list_public_modules, measure_module
from source_trees import SOURCE_GROUP

pytestmark = SOURCE_GROUP


def test_docstrings_tell_parameters_units_results_and_errors():
    """`python tests/docstrings.py MODULE` prints what is missing."""
    found = {
        module: {f"{at} {name}": lacks for (at, name), lacks in measure_module(module).items() if lacks}
        for module in list_public_modules()
    }
    assert len(found) > 50
    assert {module: lacking for module, lacking in found.items() if lacking} == {}


def test_the_figure():
    told, of = count_complete(list_public_modules())
    print(f"{told} of {of} definitions of public modules tell all")
    assert told == of > 1000
