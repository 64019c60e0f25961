"""Examples of the checks of rules: what each one demands, with a value that passes and one that breaks the rule.

The page of rules is generated from them; `tests/descriptor/test_check_examples.py` ingests both values.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuleCheckExample:
    """One check.

    Attributes
    ----------
    check
        Word of `check:`.
    meaning
        What each value of the columns must be.
    rule
        The rule, as YAML.
    passing_row, breaking_row
        Values by column, as a CSV file has them.
    column_types
        Types of columns that are no texts.
    """

    check: str
    meaning: str
    rule: str
    passing_row: dict[str, str]
    breaking_row: dict[str, str]
    column_types: dict[str, str]


def _build_check_example(
    check: str,
    meaning: str,
    rule: str,
    passing_row: dict[str, str],
    breaking_row: dict[str, str],
    **column_types: str,
) -> RuleCheckExample:
    return RuleCheckExample(check, meaning, rule, passing_row, breaking_row, column_types)


CLOCKWISE_ON_SKY = "POLYGON 10 10 10 20 20 20 20 10"
COUNTER_CLOCKWISE_ON_SKY = "POLYGON 10 10 20 10 20 20 10 20"

CHECK_EXAMPLES = (
    _build_check_example(
        "words",
        "a word from one of the table's vocabularies",
        "{check: words, of: bands, columns: band}",
        {"band": "u"},
        {"band": "ultraviolet"},
    ),
    _build_check_example(
        "pattern",
        "text that the regular expression `of` matches as a whole",
        '{check: pattern, of: "[A-Z]{3}[0-9]+", columns: code}',
        {"code": "NGC224"},
        {"code": "M 31"},
    ),
    _build_check_example(
        "between",
        "a number from `low` to `high`",
        "{check: between, columns: elevation, low: 0, high: 90}",
        {"elevation": "45"},
        {"elevation": "120"},
        elevation="float64",
    ),
    _build_check_example(
        "order",
        "two values, the first of which is not larger than the second",
        "{check: order, columns: [t_min, t_max]}",
        {"t_min": "1", "t_max": "2"},
        {"t_min": "3", "t_max": "2"},
        t_min="float64",
        t_max="float64",
    ),
    _build_check_example(
        "pair",
        "values in both columns, or null in both",
        "{check: pair, columns: [t_min, t_max]}",
        {"t_min": "1", "t_max": "2"},
        {"t_min": "1", "t_max": ""},
        t_min="float64",
        t_max="float64",
    ),
    _build_check_example(
        "unique",
        "a combination of values that no other row has",
        "{check: unique, columns: [orbit, cube]}",
        {"orbit": "18", "cube": "1"},
        {"orbit": "18", "cube": "1"},
    ),
    _build_check_example("empty", "null", "{check: empty, columns: c3min}", {"c3min": ""}, {"c3min": "12"}),
    _build_check_example(
        "text",
        "text without quotes or `#`, and without spaces at its beginning or end",
        "{check: text, columns: name}",
        {"name": "Mars Express"},
        {"name": "Mars#Express"},
    ),
    _build_check_example(
        "items",
        "a list `a#b#c` without quotes, empty items, or spaces around items",
        "{check: items, columns: hosts}",
        {"hosts": "MEX#MRO"},
        {"hosts": "MEX##MRO"},
    ),
    _build_check_example(
        "ucd",
        "a UCD",
        "{check: ucd, columns: measurement}",
        {"measurement": "phot.mag;em.opt.V"},
        {"measurement": "phot.brightness"},
    ),
    _build_check_example(
        "unit",
        "a unit in VOUnits syntax, in the form that Hven writes: `km/s`, not `km.s-1`",
        "{check: unit, columns: o_unit}",
        {"o_unit": "km/s"},
        {"o_unit": "km/sec"},
    ),
    _build_check_example(
        "url",
        "an address that begins with http, https, ftp or ftps",
        "{check: url, columns: access_url}",
        {"access_url": "https://example.org/a.fits"},
        {"access_url": "data/a.fits"},
    ),
    _build_check_example(
        "media",
        "a media type",
        "{check: media, columns: access_format}",
        {"access_format": "application/fits"},
        {"access_format": "FITS"},
    ),
    _build_check_example(
        "schema",
        "the collection's name",
        "{check: schema, columns: service_title}",
        {"service_title": "demo"},
        {"service_title": "other"},
    ),
    _build_check_example(
        "region",
        "a shape on the sphere",
        "{check: region, columns: s_region}",
        {"s_region": COUNTER_CLOCKWISE_ON_SKY},
        {"s_region": "POLYGON 10 10 20 10"},
    ),
    _build_check_example(
        "simple",
        "a polygon that does not cross itself",
        "{check: simple, columns: s_region}",
        {"s_region": COUNTER_CLOCKWISE_ON_SKY},
        {"s_region": "POLYGON 10 10 20 20 20 10 10 20"},
    ),
    _build_check_example(
        "orientation",
        (
            "a polygon whose corners run counter-clockwise, as seen from inside the sphere (`of: sky`) or from "
            "outside (`of: body`)"
        ),
        "{check: orientation, of: body, columns: s_region}",
        {"s_region": COUNTER_CLOCKWISE_ON_SKY},
        {"s_region": CLOCKWISE_ON_SKY},
    ),
    _build_check_example(
        "frame",
        "a region whose frame is not UNKNOWNFRAME",
        "{check: frame, columns: s_region}",
        {"s_region": "POLYGON ICRS 10 10 20 10 20 20"},
        {"s_region": "POLYGON UNKNOWNFRAME 10 10 20 10 20 20"},
    ),
    _build_check_example(
        "moc",
        "a MOC in its ASCII form",
        "{check: moc, columns: coverage}",
        {"coverage": "6/1 2-4"},
        {"coverage": "six"},
    ),
)
