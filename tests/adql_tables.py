"""Table sets for the corpus records that need a schema, from `schemas.json` and from words in the records."""

from __future__ import annotations

import json
import re

from hven.adql.functions import QUERY_FUNCTIONS, FunctionSet
from hven.adql.scope import StaticTableCatalogue
from hven.adql.signatures import FunctionDefinition, FunctionParameter, FunctionSignature
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, POINT, REGION, STRING, TIMESTAMP, ColumnType, parse_type
from shared import shared

TYPE_WORDS = {
    "": "double", "null": "double", "real": "float32", "double precision": "float64", "spoint": "point", "bytea": "uint8", "unicode": "unicode",
    "clob": "string", "text": "string", "blob": "uint8[*]", "binary": "uint8[*]", "polygon": "polygon", "circle": "circle", "char": "string",
    "varchar": "string", "REGION": "adql:REGION",
}  # fmt: skip


def parse_type_word(word: str, default: str = "double") -> ColumnType:
    word = word.strip()
    array = re.fullmatch(r"(\w+)\[(\d+)\]", word)
    if array:
        return parse_type(f"{parse_type_word(array[1]).scalar_type.name}[{array[2]}]")
    bare = re.sub(r"\(.*\)", "", word).strip()
    if bare in {"", "null"}:
        bare = default
    return parse_type(TYPE_WORDS.get(bare, TYPE_WORDS.get(bare.lower(), bare.lower())))


def parse_vollt_tables(text: str) -> StaticTableCatalogue:
    """Parse ``aschema.foo(colS! VARCHAR, colI INTEGER); ..``; a name without ``!`` is in lower case."""
    tables = []
    for schema, name, mark, columns in re.findall(r"(?:(\w+)\.)?(\w+)(!?)\(([^)]*)\)", text):
        made = []
        for item in filter(None, (part.strip() for part in columns.split(","))):
            label, _, kind = item.partition(" ")
            column = label.rstrip("!") if label.endswith("!") else label.lower()
            made.append(
                Column(
                    name=column,
                    type=parse_type_word(kind, "string" if column in {"ivoid", "short_name", "name"} else "double"),
                )
            )
        tables.append(Table(schema=schema, name=name if mark else name.lower(), columns=tuple(made)))
    return StaticTableCatalogue(tables)


def parse_dachs_table(name: str, words: str) -> Table:
    columns = []
    default = "float32" if "all real" in words else "double"
    kept = words
    words = re.sub(r"\((?:all real|delimited names)\)", "", words)
    delimited = "delimited names" in kept
    for match in re.finditer(r'("(?:[^"]|"")+"|\w+)\s*([A-Za-z ]*?)\s*(?:\[([^\]]*)\])?\s*(?:,|$)', words):
        label, kind, facts = match.groups()
        unit, _, ucd = (facts or "").partition(",")
        column = label[1:-1].replace('""', '"') if delimited else label.lower()
        columns.append(
            Column(
                name=column,
                type=parse_type_word(kind or "", default),
                unit=unit.strip() or None,
                ucd=ucd.strip() or None,
            )
        )
    schema, _, table = name.rpartition(".")
    return Table(schema=schema, name=table, columns=tuple(columns))


def parse_opencadc_table(name: str, words: str) -> Table:
    columns = []
    for item in re.split(r",\s*(?![^(\[]*[)\]])", words.partition(";")[0]):
        label, _, kind = item.strip().partition(" ")
        columns.append(Column(name=label.strip('"'), type=parse_type_word(kind.replace("*", ""), "string")))
    schema, _, table = name.rpartition(".")
    return Table(schema=schema, name=table, columns=tuple(columns))


def build_table_sets() -> dict[str, StaticTableCatalogue]:
    """Build all named table sets."""
    raw = json.loads(shared("corpora/adql/schemas.json").read_text())
    querytest = [parse_dachs_table(name, words) for name, words in raw["dachs-querytest"].items()]
    upload = Table(schema="TAP_UPLOAD", name="adql", columns=querytest[0].columns)
    adqltest = [
        parse_dachs_table(name, words) for name, words in raw["dachs-adqltest"].items() if "as test" not in words
    ]
    mock = [parse_opencadc_table(name, words) for name, words in raw["opencadc-mock"].items() if name != "functions"]
    tap_test = "opencadc-tap_test (TAP_SCHEMA + tap_test.AllDataTypes)"
    # the file is newer than some of its queries, which also name these two columns
    everything = parse_opencadc_table(
        "tap_test.AllDataTypes",
        raw[tap_test]["tap_test.AllDataTypes"].replace(
            "t_blob, t_binary_n, t_varbinary_n, t_varbinary binary",
            "t_blob binary, t_binary_n binary, t_varbinary_n binary, t_varbinary binary, t_byte smallint, t_timestamp timestamp",
        ),
    )
    return {
        "dachs-adqltest": StaticTableCatalogue([*adqltest, upload, *build_tap_schema()]),
        "dachs-querytest": StaticTableCatalogue([*querytest, *build_tap_schema()]),
        "opencadc-mock": StaticTableCatalogue(mock),
        tap_test: StaticTableCatalogue([everything, *build_tap_schema()]),
    }


def build_tap_schema() -> list[Table]:
    """Build the tables of TAP_SCHEMA of TAP 1.1."""
    words = {
        "schemas": "schema_name utype description schema_index:int",
        "tables": "schema_name table_name table_type utype description table_index:int",
        "columns": "table_name column_name datatype arraysize:int xtype description utype unit ucd indexed:int principal:int std:int",
        "keys": "key_id from_table target_table utype description",
        "key_columns": "key_id from_column target_column",
    }
    return [
        Table(schema="TAP_SCHEMA", name=name, columns=tuple(Column(name=item.partition(":")[0], type=INT32 if item.endswith(":int") else STRING) for item in text.split()))
        for name, text in words.items()
    ]  # fmt: skip


PARAMETER_KINDS = {
    "REGION": "GEOMETRY",
    "VARCHAR": "TEXT",
    "INTEGER": "NUMERIC",
    "REAL": "NUMERIC",
    "DOUBLE": "NUMERIC",
    "BIGINT": "NUMERIC",
    "TIMESTAMP": "TIMESTAMP",
    "POINT": "POINT",
}
RESULT_TYPES = {
    "REGION": REGION,
    "VARCHAR": STRING,
    "INTEGER": INT32,
    "DOUBLE": FLOAT64,
    "BIGINT": ColumnType("long"),
    "TIMESTAMP": TIMESTAMP,
    "POINT": POINT,
}


def declare_functions(texts: list[str]) -> FunctionSet:
    """Add functions that are declared as ``toto(attr VARCHAR) -> VARCHAR``."""
    entries: dict[str, FunctionDefinition] = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)\((.*)\)\s*->\s*(\w+)", text.strip())
        assert match, text
        args = tuple(
            FunctionParameter(name, PARAMETER_KINDS.get(word.upper(), "ANY"))
            for name, word in (item.split() for item in match[2].split(",") if item.strip())
        )
        signature = FunctionSignature(args, match[3], text, RESULT_TYPES[match[3].upper()])
        name = match[1].upper()
        before = entries[name].signatures if name in entries else ()
        entries[name] = FunctionDefinition(name=name, signatures=(*before, signature), doc="", group="udf")
    return FunctionSet([*(entry for entry in QUERY_FUNCTIONS if entry.name not in entries), *entries.values()])
