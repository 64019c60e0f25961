"""Each key of a collection, a table or a column goes along to a mirror, or stays at its site for a reason."""

from __future__ import annotations

import pytest

from hven.descriptor import _citation_keys, _keys
from hven.descriptor.value_schema import CONVERTED_MARK, LOCAL_MARK, MIRRORED_MARK, DescriptorSection

SECTIONS = (
    _keys.CollectionSection,
    _keys.TableSection,
    _keys.ColumnSection,
    _keys.CoordinateFrameSection,
    _keys.TableParamSection,
    _keys.ColumnGroupSection,
    _keys.ForeignKeySection,
    _citation_keys.PersonSection,
    _citation_keys.ContributorSection,
    _citation_keys.FundingSection,
    _citation_keys.RelatedWorkSection,
)
MARKS = (MIRRORED_MARK, CONVERTED_MARK, LOCAL_MARK)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_each_key_says_what_becomes_of_it_in_a_mirror(section: type[DescriptorSection]) -> None:
    record = section.record
    for key in record.key_types.keys() - set(_keys.ASSIGNMENT_KEYS):  # how rows are made, in a section of its own
        marks = [mark for mark in MARKS if key in record.list_marked_keys(mark)]
        assert len(marks) == 1, f"{section.__name__}.{key}: write Mirrored[...], Converted[...] or Local[...]"
