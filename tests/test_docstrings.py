"""What others build on says what it takes, returns and raises: every public module that another room or a plug-in imports."""

from docstrings import every, figure, modules


def test_docstrings_tell_parameters_units_results_and_errors():
    """`python tests/docstrings.py MODULE` prints what is missing."""
    found = {
        module: {f"{at} {name}": lacks for (at, name), lacks in every(module).items() if lacks} for module in modules()
    }
    assert len(found) > 50
    assert {module: lacking for module, lacking in found.items() if lacking} == {}


def test_the_figure():
    told, of = figure(modules())
    print(f"{told} of {of} definitions of public modules tell all")
    assert told == of > 1000
