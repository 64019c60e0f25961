"""Search forms: their fields, sections and faults, and what pages with maps send."""

from __future__ import annotations

from hven.portal._explore.search import SearchCondition, SearchFault
from hven.portal._explore.search_fields import join_form_field_parameters
from hven.portal._views.search_form import (
    FormSection,
    SearchForm,
    SearchFormField,
    build_position_search_fields,
    build_search_form,
    describe_field_parts,
)
from hven.portal._views.table_page import build_map_header_options
from hven.portal._views.table_view import translate_search_faults

__all__ = [
    "FormSection",
    "SearchCondition",
    "SearchFault",
    "SearchForm",
    "SearchFormField",
    "build_map_header_options",
    "build_position_search_fields",
    "build_search_form",
    "describe_field_parts",
    "join_form_field_parameters",
    "translate_search_faults",
]
