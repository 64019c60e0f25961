"""Names say what they stand for: the rules of docs/decisions/027-names.md, for the whole source and for each package."""

import pytest

from plain_names import NameFigures, find_reused_class_names, list_packages, measure_packages, read_words
from source_trees import SOURCE_GROUP

MAX_VERBS = 150
# the share that may be so, in percent; a package may have two names more
MAX_PARTICIPLE_CLASSES, MAX_PARTICIPLE_FUNCTIONS = 2.0, 0.5
MAX_ONE_WORD_FUNCTIONS, MAX_ONE_WORD_METHODS = 42.0, 60.0
MAX_VAGUE_NAMES = 1.0
SPARE_NAMES = 2
PACKAGES = list_packages()

pytestmark = SOURCE_GROUP


def is_within(names: list[str], total: int, percent: float) -> bool:
    return len(names) <= total * percent / 100 + SPARE_NAMES


def test_the_verbs_are_few():
    assert 100 < len(read_words("verbs")) <= MAX_VERBS
    assert not read_words("verbs") & read_words("field_words")


@pytest.mark.parametrize("package", PACKAGES)
def test_names_of_a_package_are_plain(package):
    figures: NameFigures = measure_packages()[package]
    assert is_within(figures.participle_classes, figures.classes, MAX_PARTICIPLE_CLASSES), figures.participle_classes
    functions = figures.functions + figures.methods
    assert is_within(figures.participle_functions, functions, MAX_PARTICIPLE_FUNCTIONS), figures.participle_functions
    assert is_within(figures.one_word_functions, figures.functions, MAX_ONE_WORD_FUNCTIONS)
    assert is_within(figures.one_word_methods, figures.methods, MAX_ONE_WORD_METHODS)
    assert is_within(figures.vague_bindings, figures.bindings, MAX_VAGUE_NAMES), figures.vague_bindings
    assert is_within(figures.vague_parameters, figures.parameters, MAX_VAGUE_NAMES), figures.vague_parameters


def test_functions_begin_with_a_verb():
    """What begins otherwise is renamed, or its word is added to a list of tests/words where the trade has no other one."""
    others = [name for figures in measure_packages().values() for name in figures.other_first_words]
    assert others == []


def test_public_classes_have_names_of_their_own():
    assert find_reused_class_names() == {}
