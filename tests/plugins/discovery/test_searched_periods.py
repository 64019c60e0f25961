"""Periods in the words of a search: in English, French and ISO 8601, and words that are none."""

from __future__ import annotations

import pytest

from hven.model.table import Column, Table
from hven.model.types import FLOAT64, TIMESTAMP
from hven.plugins.discovery.searched_periods import build_period_conditions, find_searched_period


@pytest.mark.parametrize(
    ("words", "text", "other_words"),
    [
        ("June 2012", "2012-06", ""),
        ("Mars June 2012", "2012-06", "Mars"),
        ("juin 2012 Mars", "2012-06", "Mars"),
        ("Mars 2012", "2012", "Mars"),
        ("mars 2012", "2012", "mars"),
        ("août 2003", "2003-08", ""),
        ("déc. 1999", "1999-12", ""),
        ("1er janvier 1610", "1610-01-01", ""),
        ("January 7, 1610", "1610-01-07", ""),
        ("15th of", None, ""),
        ("15 June 2012 OMEGA", "2012-06-15", "OMEGA"),
        ("29 February 2012", "2012-02-29", ""),
        ("29 February 2013", None, ""),
        ("2012-06-15", "2012-06-15", ""),
        ("2012-06-15T12:30:00Z", "2012-06-15T12:30:00", ""),
        ("2012-06-15 12:30 aia", "2012-06-15T12:30", "aia"),
        ("2012-06-01..2012-06-30", "2012-06-01..2012-06-30", ""),
        ("2012-06-01/2012-07-02 images", "2012-06-01..2012-07-02", "images"),
        ("from 2010 to 2012 Venus", "2010..2012", "Venus"),
        ("Vénus de 2010 à 2012", "2010..2012", "Vénus"),
        ("June 2012 to August 2012", "2012-06..2012-08", ""),
        ("2014..2012", None, ""),
        ("2012-13", None, ""),
        ("2012-06-31", None, ""),
        ("2012-06-15T25:00", None, ""),
        ("ju 2012", "2012", "ju"),
        ("jup 2012", "2012", "jup"),
        ("NGC 2012", "2012", "NGC"),
        ("NGC2012", None, ""),
        ("HD 20120", None, ""),
        ("10.1234/2012", None, ""),
        ("", None, ""),
    ],
)
def test_periods(words: str, text: str | None, other_words: str) -> None:
    period = find_searched_period(words)
    assert (period and period.text, period.other_words if period else "") == (text, other_words)


def build_table(*columns: Column) -> Table:
    return Table(schema="s", name="t", columns=columns)


def test_the_third_month_is_a_planet_unless_the_page_is_french() -> None:
    for words, language, text, other_words in [
        ("Mars mars 2012", "fr", "2012-03", "Mars"),
        ("Mars 2012", "fr", "2012", "Mars"),
        ("12 mars 2012", "fr", "2012-03-12", ""),
        ("12 march 2012 mars", "en", "2012-03-12", "mars"),
    ]:
        period = find_searched_period(words, language)
        assert period is not None
        assert (period.text, period.other_words) == (text, other_words)


def test_conditions_have_the_names_of_form_fields() -> None:
    period = find_searched_period("June 2012")
    assert period is not None
    pair = build_table(Column(name="t_min", unit="d", ucd="time.start"), Column(name="t_max", unit="d", ucd="time.end"))
    assert build_period_conditions(period, pair) == (("t", "2012-06"),)
    single = build_table(Column(name="seen", type=TIMESTAMP, ucd="time.epoch"))
    assert build_period_conditions(period, single) == (("seen", "2012-06"),)
    ends = build_table(
        Column(name="begin", type=TIMESTAMP, ucd="time.start"), Column(name="stop", type=TIMESTAMP, ucd="time.end")
    )
    assert build_period_conditions(period, ends) == (("begin", "..2012-06"), ("stop", "2012-06.."))
    assert build_period_conditions(period, build_table(Column(name="mag", type=FLOAT64))) == ()
