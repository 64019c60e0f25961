"""The shared corpus of ADQL queries: verdicts that need tables, types or function declarations (corpora/adql, see its SOURCES.md)."""

from __future__ import annotations

import json

import pytest

from adql_runner import OTHER_RUNNERS, run_in_duckdb
from adql_tables import build_table_sets, declare_functions, parse_type_word, parse_vollt_tables
from hven.adql import bind_query, parse_query
from hven.adql.functions import FunctionSet
from hven.adql.scope import StaticTableCatalogue
from hven.model.errors import UserError
from hven.model.table import Column, Table
from shared import shared

#: Records whose label contradicts the standard, or asks for a setting that a service may have and Hven has not: the rule.
STRINGS = "SQL-92 6.13 (ADQL 2.1 section 2.4.3): || joins character strings; CAST the others"
SIGNATURES = (
    "TAPRegExt 1.0 section 2.3: a call fits a declared signature; the same corpus calls toto(123) || 'blabla' invalid"
)
FRAMES = "ADQL 2.1 section 4.2.1: the coordinate system argument is deprecated; Hven accepts and ignores every one"
EXCEPTIONS = {
    "adql-08122d03abd0": STRINGS,
    "adql-4557569d97c8": STRINGS,
    "adql-91a7321943a4": STRINGS,
    "adql-151aa752299c": SIGNATURES,
    "adql-300729bcffe3": SIGNATURES,
    "adql-38ab0d967b94": "SQL-92 6.4: dist is a column of both joined tables, and so ambiguous",
    "adql-68c47f0f2107": "ADQL 2.1 section 2.1.2: a regular identifier is compared without case, so plain means plAin; vollt's records say the same",
    "adql-6c064e974026": FRAMES,
    "adql-9abe3f94209c": FRAMES,
    "adql-d6203b6575a2": "ADQL 2.0 section 2.4.14: a service says which texts REGION takes; 'simbad M1' is another service's, Hven takes DALI and STC-S",
    "adql-e110bd7562fa": "ADQL 2.1 section 2.2.10: a user defined function may return a geometry; 2.0 had no rule for it",
    "adql-f9774f6ecdf0": "TAPRegExt 1.0: switching off BOX says nothing of the words inside REGION's string",
}
#: Tables of records that come without any.
MORE = {
    "foo": "alpha, delta, margin, lf, up, ri, lo, a, b, raj2000, dej2000, mag, x, y, p point",
    "plaintable": "a",
    'useless & table" name': "a",
    "ppmx.data": "ra, de, coverage polygon, alphafloat, deltafloat, pmra, pmde",
    "gnug": "a",
    "y": "x",
    "bar": "x",
    "atable": "id integer, ra, dec",
    "lsw.plates": "dateobs varchar",
    "ref": "bibcode varchar, doi varchar, journal varchar, nbobject integer, page integer, last_page integer, title varchar, volume integer, year integer, abstract varchar",
    "ivoa.obscore": "dataproduct_type varchar, s_region REGION, em_min, em_max, target_name varchar, obs_publisher_did varchar, s_ra, s_dec, instrument_name varchar, obs_collection varchar, facility_name varchar",
    "asm.lhatpros_paranal_profiles": "start_date timestamp, midpoint_date timestamp, ra, dec, alt, az, valid integer",
    "tap_schema.columns": "table_name varchar, column_name varchar, datatype varchar, description varchar, unit varchar, ucd varchar, principal integer",
}
#: Functions that the service declares to which the query was sent, where the record does not repeat them.
DECLARED = {
    "adql-3fc162e7e5a1": ["ivo_apply_pm(ra DOUBLE, dec DOUBLE, pmra DOUBLE, pmde DOUBLE, epdist DOUBLE) -> POINT"],
    "adql-02614ebaddd4": ["tata() -> INTEGER"],
    "adql-0e33a19970f3": ["tata() -> INTEGER"],
    "adql-c59ddea665d1": ["LOWERCASE(s VARCHAR) -> VARCHAR"],
    "adql-e16c59129a83": ["LOWERCASE(s VARCHAR) -> VARCHAR", "REGEXP(s VARCHAR, p VARCHAR) -> INTEGER"],
}
NEEDS = {"schema", "types", "udf", "features", "coordsys"}


def more() -> StaticTableCatalogue:
    tables = []
    for name, words in MORE.items():
        schema, _, table = name.rpartition(".") if '"' not in name else ("", "", name)
        columns = tuple(
            Column(name=item.split()[0], type=parse_type_word(item.partition(" ")[2])) for item in words.split(", ")
        )
        tables.append(Table(schema=schema, name=table, columns=columns))
    return StaticTableCatalogue(tables)


def records():
    for path in sorted(shared("corpora/adql").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["needs"] in NEEDS and record["expected"] != "depends":
                yield record


@pytest.fixture(scope="module")
def table_sets():
    return build_table_sets()


def catalogue(record, table_sets):
    context = record.get("context", {})
    if context.get("tables"):
        return parse_vollt_tables(context["tables"])
    found = table_sets.get(context.get("schema", ""))
    # a few records of a named set read a table that the set does not list
    return found if found is not None and record["id"] not in {"adql-089cb0642ae5", "adql-bbb1ad3f3b5e"} else more()


def is_accepted(record, table_sets) -> bool:
    context = record.get("context", {})
    off = {name.upper() for name in context.get("features_switched_off", [])}
    known_to = declare_functions([*context.get("udfs", []), *DECLARED.get(record["id"], [])])
    functions = FunctionSet(entry for entry in known_to if entry.name not in off)
    try:
        bind_query(parse_query(record["query"], record["version"]), catalogue(record, table_sets), functions=functions)
    except UserError:
        return False
    return True


def test_the_corpus_is_there():
    assert sum(1 for _ in records()) > 300
    assert set(EXCEPTIONS) <= {record["id"] for record in records()}


def test_verdicts(table_sets, subtests):
    for record in records():
        with subtests.test(record["id"], query=record["query"]):
            agrees = is_accepted(record, table_sets) == (record["expected"] == "valid")
            if record["id"] in EXCEPTIONS:
                assert not agrees, "this exception is none any more: take it off the list"
            else:
                assert agrees


def foreign(record) -> bool:
    """Tell whether the query calls functions of another service."""
    return (
        bool(record.get("context", {}).get("udfs") or record["id"] in DECLARED) and record["id"] != "adql-4966d310064d"
    )


def test_what_is_valid_runs(table_sets):
    """Whatever binds is SQL that the engine takes, here over empty tables."""
    assert count_executed_queries(table_sets) > 150


def count_executed_queries(table_sets) -> int:
    ran = 0
    for record in records():
        if record["expected"] != "valid" or record["id"] in EXCEPTIONS or foreign(record):
            continue
        bound = bind_query(parse_query(record["query"], record["version"]), catalogue(record, table_sets))
        if not bound.columns:
            continue  # some records have tables without columns
        pairs = [(table, table.arrow_schema.empty_table()) for table in bound.tables]
        answer = (OTHER_RUNNERS[-1] if OTHER_RUNNERS else run_in_duckdb)(bound, pairs)
        assert answer.column_names == [column.name for column in bound.columns], record["id"]
        ran += 1
    return ran
