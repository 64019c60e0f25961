"""Write random ADQL queries over a catalogue, from a seed.

The tables of the grammar and of the binder supply the functions, their arguments and results (`hven.adql.functions`)
and the types of casts (`hven.adql._expression_binder`). Additions there are used here without a change. Most names
exist and most types fit; values are small, extreme or NULL.
"""

from __future__ import annotations

from random import Random

from hven.adql import _expression_parser as terms
from hven.adql._expression_binder import CAST_TARGET_TYPES
from hven.adql._function_syntax import ARGUMENT_LETTERS
from hven.adql.functions import FRAME_FUNCTION_NAMES, QUERY_FUNCTIONS, WINDOW_AGGREGATE_NAMES, WINDOW_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.signatures import FunctionDefinition, FunctionSignature
from hven.adql.value_kinds import classify_type
from hven.adql.vocabularies import load_vocabularies
from hven.model.table import Column, Table

KINDS = ("number", "integer", "text", "time", "boolean", "point", "circle", "polygon", "region", "moc", "numbers")
KINDS_BY_TYPE_WORD = {
    "NUMERIC": "number", "REAL": "number", "DOUBLE": "number", "INTEGER": "integer", "BIGINT": "integer", "TEXT": "text", "TIMESTAMP": "time",
    "BOOLEAN": "boolean", "POINT": "point", "CIRCLE": "circle", "POLYGON": "polygon", "REGION": "region", "MOC": "moc", "ARRAY": "numbers",
    "LIST": "numbers", "SUM": "number", "ELEMENT": "number", "TOTAL": "number", "INTEGER[]": "numbers",
}  # fmt: skip
KIND_CHOICES = {
    "GEOMETRY": ("point", "circle", "polygon", "region", "moc"),
    "ORDERED": ("number", "integer", "text", "time"),
    "ANY": ("number", "text", "time", "boolean"),
}
LITERALS = {
    "integer": ["0", "1", "2", "3", "7", "10", "255", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "0xff"],
    "number": ["0", "1", "2.5", "10", "20", "0.1", "1e3", "1e-9", "359.9", "90", "1e308", "2147483648", "9223372036854775807", "1e-320"],
    "text": ["'Vega'", "'a''b'", "''", "'x'", "'a#b#Vega'", "'10 20'", "'10 20 1'", "'1 1 2 1 2 2'", "'CIRCLE 10 20 1'", "'3/1-4'", "'12:30:45.5'", "'ivo://a.b/c?d'",
             "'2020-01-01T00:00:00'", "'%'", "'_e%'", "'\\'", "'('", "'[a-z]+'", "'7'", "'1e400'", "'\u00e9\U0001f600'", "' '"],
    "time": ["CAST('2020-06-01' AS TIMESTAMP)", "CAST('1999-12-31T23:59:60' AS TIMESTAMP)", "CAST('0001-01-01T00:00:00.000001' AS TIMESTAMP)"],
    "boolean": ["TRUE", "FALSE"],
    "point": ["POINT(10, 20)", "POINT('ICRS', 359.99, -90)"],
    "circle": ["CIRCLE(10, 20, 1)", "CIRCLE(0, 0, 180)", "CIRCLE(POINT(10, 20), 0)"],
    "polygon": ["POLYGON(9, 19, 11, 19, 11, 21, 9, 21)", "BOX(10, 20, 2, 2)", "POLYGON(0, 0, 0, 0, 0, 0)"],
    "region": ["REGION('CIRCLE 10 20 1')", "REGION('UNION ICRS (CIRCLE 10 20 1 CIRCLE 30 20 1)')"],
    "moc": ["MOC('3/1-4')", "MOC('0/0-11')"],
    "numbers": [],
}  # fmt: skip
ARGUMENT_LITERALS = {  # valid literals of some arguments, by name
    "coordsys": ["'ICRS'", "''", "'GALACTIC'"], "unit": ["'deg'", "'arcsec'", "'mag'", "'nope'"], "dest_unit": ["'GHz'", "'nm'", "'eV'"], "expr_unit": ["'nm'", "'m'", "'J'"],
    "from_sys": ["'ICRS'", "'FK5'", "'X'"], "to_sys": ["'GALACTIC'", "'FK4'", "'ECLIPTIC'"], "nbins": ["1", "5", "0"], "hpxOrder": ["0", "3", "6", "29", "30"],
    "region": ["'CIRCLE 10 20 1'", "'POLYGON 1 1 2 1 2 2'", "'UNION ICRS (CIRCLE 10 20 1 CIRCLE 30 20 1)'", "'junk'"],
    "pattern": ["'V.*'", "'(a)(b)?'", "'('"], "n": ["1", "2", "0", "30"], "term": ["'image'", "'#image'", "'nope'"], "vocname": [f"'{name}'" for name in (*load_vocabularies(), "nope")][-4:] + ["'product-type'"] * 8,
}  # fmt: skip
CAST_TYPES = {
    name: type_
    for name, type_ in CAST_TARGET_TYPES.items()
    if name in terms.TYPE_NAMES or name in {"DOUBLE PRECISION", "CHAR", "VARCHAR"}
}
JOINS = ("JOIN", "INNER JOIN", "LEFT JOIN", "LEFT OUTER JOIN", "RIGHT JOIN", "FULL JOIN", "FULL OUTER JOIN")
WRONG_SHARE = 0.01  # share of the places where the writer uses something that does not fit


def classify_column(column: Column) -> str:
    """Return the kind of a column, a word of `KINDS`."""
    found = classify_type(column.type)
    return (
        "integer"
        if found == "number" and column.type.is_integer
        else "numbers"
        if found in {"array", "interval"}
        else found
    )


def list_accepted_kinds(word: str) -> tuple[str, ...]:
    """List the kinds that an argument accepts."""
    return KIND_CHOICES.get(word) or (KINDS_BY_TYPE_WORD[word],)


def list_calls(wanted: str, *, aggregate: bool) -> list[tuple[FunctionDefinition, FunctionSignature, str]]:
    """List the calls that give a kind: function, signature, and the kind of the arguments that decide the result."""
    found = []
    for entry in QUERY_FUNCTIONS:
        if entry.aggregate is not aggregate:
            continue
        for signature in entry.signatures:
            if signature.result in {"SAME", "COMMON"}:
                if wanted in (accepts := list_accepted_kinds(signature.parameters[0].type_word)) or (
                    wanted == "integer" and "number" in accepts
                ):
                    found.append((entry, signature, wanted))
            elif wanted in {
                KINDS_BY_TYPE_WORD[signature.result],
                "number" if KINDS_BY_TYPE_WORD[signature.result] == "integer" else "",
            }:
                found.append((entry, signature, ""))
    return found


CALLS = {
    (wanted, aggregate): list_calls(wanted, aggregate=aggregate) for wanted in KINDS for aggregate in (False, True)
}
FUNCTION_NAMES = {
    kind: sorted({entry.name for entry, _, _ in found}) for kind, found in CALLS.items()
}  # each equally likely, however many signatures it has
WINDOW_FUNCTION_NAMES = sorted({*WINDOW_FUNCTIONS, *WINDOW_AGGREGATE_NAMES})


class QueryWriter:
    """Write one query; `tables` maps the names that may stand in FROM to their tables."""

    def __init__(self, seed: int, tables: dict[str, Table]) -> None:
        self.random = Random(seed)
        self.tables = {
            name: [(quote_name(column.name), classify_column(column)) for column in table.columns if not column.hidden]
            for name, table in tables.items()
        }
        self.scope: list[tuple[str, list[tuple[str, str]]]] = []
        self.alias_count = 0
        self.windows: list[str] = []  # of the WINDOW clause that is being written
        self.remaining_pieces = 40  # number of pieces that may still be nested

    # --- chances

    def draw_chance(self, share: float) -> bool:
        return self.random.random() < share

    def choose(self, items):
        return self.random.choice(items)

    # --- queries

    def write_query(self) -> str:
        """Write a whole query."""
        head = ""
        if self.draw_chance(0.12):
            parts = []
            for name in ("w", "W2")[: self.choose([1, 1, 1, 2])]:
                text, columns = self.write_select(2, width=2)
                parts.append(f"{name} AS ({text})")
                self.tables[name] = columns
            head = f"WITH {', '.join(parts)} "
        elif self.draw_chance(0.04):
            step = self.choose(["n + 1", "n * 2", "CAST(n + 1 AS BIGINT)"])
            head = f"WITH RECURSIVE w AS (SELECT 1 AS n{self.choose(['', ' FROM sky.labels'])} {self.choose(['UNION', 'UNION ALL'])} SELECT {step} FROM w WHERE n < {self.choose([3, 10])}) "
            self.tables["w"] = [("n", "integer")]
        text, columns = self.write_select(3)
        if self.draw_chance(0.15):
            return head + self.write_set_operation(text, columns)
        return head + text + self.write_ending(columns)

    def write_set_operation(self, text: str, columns: list[tuple[str, str]]) -> str:
        """Write a set operation of selects with the same kinds of columns."""
        for _ in range(self.choose([1, 1, 2])):
            other = self.write_select(1, kinds=[kind for _, kind in columns])[0]
            text += f" {self.choose(['UNION', 'UNION ALL', 'EXCEPT', 'EXCEPT ALL', 'INTERSECT', 'INTERSECT ALL'])} {other if self.draw_chance(0.8) else f'({other})'}"
        return text + (f" ORDER BY {self.random.randint(1, len(columns))}" if self.draw_chance(0.5) else "")

    def write_ending(self, columns: list[tuple[str, str]]) -> str:
        """Write ORDER BY and OFFSET."""
        text = ""
        if self.draw_chance(0.3):
            items = []
            for _ in range(self.choose([1, 1, 2])):
                item = self.choose([self.choose(columns)[0], str(self.random.randint(1, len(columns)))])
                if self.draw_chance(0.02):
                    item = self.choose(
                        [
                            "LOWER('x')",
                            f"({columns[0][0]} + 1)",
                            "0",
                            "9223372036854775807",
                            "nope",
                            "99",
                            "'a'",
                            "NULL",
                            "COUNT(*)",
                        ]
                    )
                items.append(item + self.choose(["", " ASC", " DESC"]))
            text = f" ORDER BY {', '.join(items)}"
        if self.draw_chance(0.08):
            text += f" OFFSET {self.choose(['0', '1', '3', '9223372036854775807', '99999999999999999999'])}"
        return text

    def write_select(
        self, depth: int, *, width: int = 3, kinds: list[str] | None = None
    ) -> tuple[str, list[tuple[str, str]]]:
        """Write one SELECT; return its text and its columns."""
        kept, outer, windows = self.scope, self.alias_count, self.windows
        self.windows = []
        source = self.write_from(depth)
        self.scope = self.scope if depth < 3 and self.draw_chance(0.3) else self.scope[len(kept) :]
        wanted = kinds or [
            self.choose(KINDS[:6] if self.draw_chance(0.8) else KINDS) for _ in range(self.random.randint(1, width))
        ]
        where = f" WHERE {self.write_condition(depth)}" if self.draw_chance(0.6) else ""
        grouped = self.draw_chance(0.25)
        if grouped:
            text, names = self.write_grouped_select(depth, wanted, source, where)
        else:
            items, names = [], []
            if kinds is None and depth == 3 and self.draw_chance(0.05):
                alias, columns = self.choose(self.scope)
                items, names = [self.choose([f"{alias}.*", "*"])], [(columns[0][0], columns[0][1])]
            else:
                for want in wanted:
                    value = (
                        self.write_window_call(depth)
                        if kinds is None and self.draw_chance(0.06)
                        else self.write_value(want, depth)
                    )
                    names.append((f"c{len(names)}", want))
                    items.append(f"{value} AS c{len(names) - 1}")
            start = self.choose(
                ["SELECT"] * 6
                + [
                    "SELECT DISTINCT",
                    "SELECT ALL",
                    f"SELECT TOP {self.choose(['0', '1', '5', '99999999999999999999'])}",
                ]
            )
            text = f"{start} {', '.join(items)} FROM {source}{where}"
            text += f" WINDOW {', '.join(self.windows)}" if self.windows else ""
        self.scope, self.windows, _ = kept, windows, outer
        return text, names

    def write_grouped_select(
        self, depth: int, wanted: list[str], source: str, where: str
    ) -> tuple[str, list[tuple[str, str]]]:
        """Write a SELECT with GROUP BY, or with aggregates only."""
        items, names, keys = [], [], []
        for place, want in enumerate(wanted, 1):
            if self.draw_chance(0.4):
                value = self.write_value(want, 1)
                keys.append(self.choose([value, f"c{place - 1}", str(place)]))
            else:
                value = (
                    self.write_call(want, depth - 1, aggregate=True)
                    if CALLS[want, True]
                    else self.write_value(want, 0, without_columns=True)
                )
            items.append(f"{value} AS c{place - 1}")
            names.append((f"c{place - 1}", want))
        if self.draw_chance(0.03):
            keys.append(self.choose(["9223372036854775807", "0", "-1", "NULL", "'a'", "99999999999999999999"]))
        by = f" GROUP BY {', '.join(keys)}" if keys else ""
        having = (
            f" HAVING {self.write_call('number', 1, aggregate=True)} {self.choose(['>', '<=', '<>'])} {self.choose(LITERALS['number'])}"
            if self.draw_chance(0.2)
            else ""
        )
        return f"SELECT {', '.join(items)} FROM {source}{where}{by}{having}", names

    def write_from(self, depth: int) -> str:
        """Write FROM and add its tables to the scope."""
        text = self.write_from_item(depth)
        for _ in range(self.choose([0, 0, 0, 1, 1, 2]) if depth > 1 else 0):
            before = self.scope[-1]
            how = self.choose([*JOINS, "NATURAL JOIN", "NATURAL LEFT JOIN", "CROSS JOIN", ","])
            text = f"({text})" if " JOIN " in text and "," not in text and self.draw_chance(0.2) else text
            other = self.write_from_item(depth)
            text += f"{how} {other}" if how == "," else f" {how} {other}"
            if how in JOINS:
                shared = [name for name, _ in before[1] if name in {column for column, _ in self.scope[-1][1]}]
                text += (
                    f" USING ({self.choose(shared)})"
                    if shared and self.draw_chance(0.25)
                    else f" ON {self.write_join_condition(before, self.scope[-1], depth)}"
                )
        return text

    def write_join_condition(self, one: tuple, two: tuple, depth: int) -> str:
        """Write the condition of a join: equal keys, near positions, or any condition."""
        if "id" in dict(one[1]) and "id" in dict(two[1]) and self.draw_chance(0.7):
            return f"{one[0]}.id = {two[0]}.id"
        if "ra" in dict(one[1]) and "ra" in dict(two[1]) and self.draw_chance(0.6):
            places = f"POINT({one[0]}.ra, {one[0]}.dec), "
            return self.choose(
                [
                    f"1 = CONTAINS({places}CIRCLE({two[0]}.ra, {two[0]}.dec, 0.5))",
                    f"DISTANCE({places}POINT({two[0]}.ra, {two[0]}.dec)) < 0.5",
                ]
            )
        return self.write_condition(min(depth, 1))

    def write_from_item(self, depth: int) -> str:
        """Write one item of FROM."""
        self.alias_count += 1
        alias = f"t{self.alias_count}" if self.draw_chance(0.9) else f'"T {self.alias_count}"'
        if depth > 1 and self.draw_chance(0.12):
            kept = self.scope
            self.scope = []
            text, columns = self.write_select(depth - 1, width=2)
            text = (
                f"WITH v AS ({text}) SELECT * FROM v"
                if self.draw_chance(0.1)
                else text + self.write_ending(columns)
                if self.draw_chance(0.2)
                else text
            )
            self.scope = [*kept, (alias, columns)]
            return f"({text}) AS {alias}"
        name = self.choose(list(self.tables))
        self.scope = [*self.scope, (alias, self.tables[name])]
        return f"{name if not self.draw_chance(WRONG_SHARE / 4) else 'sky.nope'} AS {alias}"

    # --- values

    def write_value(self, wanted_kind: str, depth: int, *, without_columns: bool = False) -> str:
        """Write a value of a kind, optionally without columns."""
        self.remaining_pieces -= 1
        if self.draw_chance(WRONG_SHARE):
            wanted_kind = self.choose(KINDS)
        if depth <= 0 or self.remaining_pieces <= 0 or self.draw_chance(0.3):
            return self.write_leaf(wanted_kind, without_columns=without_columns)
        choice = self.random.random()
        if choice < 0.50 and CALLS[wanted_kind, False]:
            return self.write_call(wanted_kind, depth - 1, without_columns=without_columns)
        if choice < 0.62 and wanted_kind in {"number", "integer"}:
            op = (
                self.choose(["+", "-", "*", "/", "%", "&", "|", "^"])
                if wanted_kind == "integer"
                else self.choose(["+", "-", "*", "/"])
            )
            return f"({self.write_value(wanted_kind, depth - 1, without_columns=without_columns)} {op} {self.write_value(wanted_kind, depth - 1, without_columns=without_columns)})"
        if choice < 0.62 and wanted_kind == "text":
            return f"({self.write_value('text', depth - 1, without_columns=without_columns)} || {self.write_value('text', depth - 1, without_columns=without_columns)})"
        if choice < 0.70:
            return f"CASE WHEN {self.write_condition(depth - 1, without_columns=without_columns)} THEN {self.write_value(wanted_kind, depth - 1, without_columns=without_columns)} {self.choose(['', 'ELSE ' + self.write_value(wanted_kind, 0, without_columns=without_columns)])} END"
        if choice < 0.74:
            compared = self.choose(["integer", "text"])
            return f"CASE {self.write_value(compared, 0, without_columns=without_columns)} WHEN {self.write_value(compared, 0, without_columns=without_columns)} THEN {self.write_value(wanted_kind, 0, without_columns=without_columns)} WHEN NULL THEN NULL ELSE NULL END"
        if choice < 0.88:
            return self.write_cast(wanted_kind, depth, without_columns=without_columns)
        if choice < 0.94 and not without_columns and depth > 1 and CALLS[wanted_kind, True]:
            return self.write_scalar_subquery(wanted_kind, depth)
        if wanted_kind in {"number", "integer"}:
            arrays = (
                []
                if without_columns
                else [f"{alias}.{name}" for alias, items in self.scope for name, kind in items if kind == "numbers"]
            )
            if arrays and self.draw_chance(0.4):
                return f"{self.choose(arrays)}[{self.write_value('integer', 0)}]"
            return f"({self.choose('-+~' if wanted_kind == 'integer' else '-+')}{self.write_value(wanted_kind, depth - 1, without_columns=without_columns)})"
        return self.write_leaf(wanted_kind, without_columns=without_columns)

    def write_scalar_subquery(self, wanted_kind: str, depth: int) -> str:
        """Write a subquery with one value."""
        kept = self.scope
        source = self.write_from_item(1)
        text = f"(SELECT {self.write_call(wanted_kind, depth - 2, aggregate=True)} FROM {source}{f' WHERE {self.write_condition(depth - 2)}' if self.draw_chance(0.5) else ''})"
        self.scope = kept
        return text

    def write_cast(self, wanted_kind: str, depth: int, *, without_columns: bool) -> str:
        """Write a CAST to a type of the kind."""
        types = [
            name
            for name, type_ in CAST_TYPES.items()
            if (classify_type(type_) == wanted_kind or (wanted_kind == "integer" and type_.is_integer))
        ]
        if not types:
            return self.write_leaf(wanted_kind, without_columns=without_columns)
        target = self.choose(types)
        if target in {"CHAR", "VARCHAR"} and self.draw_chance(0.5):
            target += f"({self.choose(['1', '4', '20', '20', '0', '99999999999999999999'])})"
        simple = wanted_kind in {"number", "integer", "text", "time", "boolean"}
        inner = (
            self.choose(
                [wanted_kind, wanted_kind, "number" if wanted_kind in {"integer", "text", "boolean"} else "text"]
            )
            if simple
            else "text"
        )
        return f"CAST({self.write_value(inner, depth - 1, without_columns=without_columns)} AS {target})"

    def write_leaf(self, wanted_kind: str, *, without_columns: bool = False) -> str:
        """Write a column, a literal or NULL."""
        if not without_columns and self.scope:
            columns = [
                f"{alias}.{name}"
                for alias, items in self.scope
                for name, kind in items
                if kind == wanted_kind or (wanted_kind == "number" and kind == "integer")
            ]
            if columns and self.draw_chance(0.6):
                return self.choose(columns)
            if wanted_kind == "numbers" and columns:
                return self.choose(columns)
        if self.draw_chance(0.05) or not LITERALS[wanted_kind]:
            return "NULL"
        few = LITERALS[wanted_kind][:4] if self.draw_chance(0.5) else LITERALS[wanted_kind]
        return self.choose(few)

    def write_call(
        self, wanted_kind: str, depth: int, *, aggregate: bool = False, without_columns: bool = False
    ) -> str:
        """Write a call whose result is of a kind."""
        found = CALLS[wanted_kind, aggregate]
        name = self.choose(FUNCTION_NAMES[wanted_kind, aggregate])
        entry, signature, same = self.choose([item for item in found if item[0].name == name])
        if entry.name == "COUNT" and self.draw_chance(0.5):
            return "COUNT(*)"
        kept, self.scope = self.scope, [] if without_columns else self.scope
        text = self.write_arguments(entry, signature, same, depth)
        self.scope = kept
        return text

    def write_arguments(self, entry: FunctionDefinition, signature: FunctionSignature, same: str, depth: int) -> str:
        """Write a function name with its arguments."""
        count = self.random.randint(signature.min_argument_count, len(signature.parameters))
        if signature.parameters and signature.parameters[-1].is_repeated:
            count += self.choose([0, 1, 2] if entry.name != "POLYGON" else [0, 1])
        if self.draw_chance(WRONG_SHARE):
            count = max(0, count + self.choose([-1, 1]))
        args, shared = [], same
        letters = ARGUMENT_LETTERS.get(entry.name, "").replace("?", "")  # where the grammar requires a literal
        for number in range(count if signature.parameters else 0):
            arg = signature.get_argument_parameter(number)
            if number < len(letters) and letters[number] in "iul" and self.draw_chance(1 - WRONG_SHARE):
                args.append(
                    self.choose(
                        ARGUMENT_LITERALS.get(arg.name) or LITERALS[self.choose(list_accepted_kinds(arg.type_word))][:4]
                    )
                )
            elif signature.result == "COMMON" or (signature.result == "SAME" and number == 0):
                args.append(self.write_value(shared or self.choose(list_accepted_kinds(arg.type_word)), depth))
            elif arg.must_be_literal:
                args.append(
                    self.choose(
                        ARGUMENT_LITERALS.get(arg.name) or LITERALS[self.choose(list_accepted_kinds(arg.type_word))]
                    )
                )
            elif arg.name == "delimiter":
                args.append(
                    self.choose(["', '", "''", "LOWER('X')"]) if self.draw_chance(0.95) else self.write_value("text", 1)
                )
            else:
                args.append(self.write_value(self.choose(list_accepted_kinds(arg.type_word)), depth))
        distinct = (
            self.choose(["DISTINCT ", "DISTINCT ", "ALL "])
            if entry.name in {"COUNT", "SUM", "AVG", "MIN", "MAX"} and self.draw_chance(0.2)
            else ""
        )
        return f"{entry.name if self.draw_chance(0.9) else entry.name.lower()}({distinct}{', '.join(args)})"

    def write_window_call(self, depth: int) -> str:
        """Write a function over a window."""
        name = self.choose(WINDOW_FUNCTION_NAMES)
        entry = WINDOW_FUNCTIONS.get(name) or QUERY_FUNCTIONS.find_function(name)
        signature = entry.signatures[0]
        same = (
            self.choose(list_accepted_kinds(signature.parameters[0].type_word))
            if signature.parameters and signature.result == "SAME"
            else ""
        )
        text = self.write_arguments(entry, signature, same, 1)
        parts = (
            [f"PARTITION BY {self.write_value(self.choose(['integer', 'text']), 1)}"] if self.draw_chance(0.5) else []
        )
        if self.draw_chance(0.8):
            parts.append(
                f"ORDER BY {self.write_value(self.choose(['number', 'integer', 'text', 'time']), min(depth, 1))}{self.choose(['', ' DESC'])}"
            )
        if (name in FRAME_FUNCTION_NAMES or name in WINDOW_AGGREGATE_NAMES) and self.draw_chance(0.4):
            edges = [
                "UNBOUNDED PRECEDING",
                "1 PRECEDING",
                "CURRENT ROW",
                "2 FOLLOWING",
                "UNBOUNDED FOLLOWING",
                "99999999999999999999 FOLLOWING",
            ]
            begin = self.random.randint(0, 2)
            parts.append(
                f"{self.choose(['ROWS', 'RANGE', 'GROUPS'])} {edges[begin]}"
                if self.draw_chance(0.2)
                else f"{self.choose(['ROWS', 'RANGE', 'GROUPS'])} BETWEEN {edges[begin]} AND {edges[self.random.randint(max(begin, 1), 5 if self.draw_chance(0.1) else 4)]}"
            )
        if self.draw_chance(0.2):
            self.windows.append(f"v{len(self.windows)} AS ({' '.join(parts)})")
            return f"{text} OVER v{len(self.windows) - 1}"
        return f"{text} OVER ({' '.join(parts)})"

    # --- conditions

    def write_condition(self, depth: int, *, without_columns: bool = False) -> str:
        """Write a condition."""
        self.remaining_pieces -= 1
        if depth > 0 and self.remaining_pieces > 0 and self.draw_chance(0.3):
            one, two = (
                self.write_condition(depth - 1, without_columns=without_columns),
                self.write_condition(depth - 1, without_columns=without_columns),
            )
            return self.choose([f"({one} AND {two})", f"({one} OR {two})", f"NOT ({one})"])
        choice, inner = self.random.random(), max(depth - 1, 0)
        want = self.choose(["number", "integer", "text", "time", "boolean"])
        value = self.write_value(want, inner, without_columns=without_columns)
        if choice < 0.35:
            return f"{value} {self.choose(['=', '<>', '!=', '<', '<=', '>', '>='])} {self.write_value(want, inner, without_columns=without_columns)}"
        if choice < 0.45:
            return f"{value} {self.choose(['', 'NOT '])}BETWEEN {self.write_value(want, inner, without_columns=without_columns)} AND {self.write_value(want, inner, without_columns=without_columns)}"
        if choice < 0.55:
            if want == "integer" and self.draw_chance(0.1):  # the parser reads a long list of literals as a whole
                return f"{value} IN ({', '.join(map(str, range(self.choose([130, 200]))))})"
            return f"{value} {self.choose(['', 'NOT '])}IN ({self.write_value(want, inner, without_columns=without_columns)}, {self.write_value(want, 0, without_columns=without_columns)})"
        if choice < 0.65:
            return f"{self.write_value('text', inner, without_columns=without_columns)} {self.choose(['', 'NOT '])}{self.choose(['LIKE', 'ILIKE'])} {self.write_value('text', inner, without_columns=without_columns)}"
        if choice < 0.75:
            return f"{value} IS {self.choose(['', 'NOT '])}NULL"
        if choice < 0.85:
            shapes = [
                self.write_value(self.choose(KIND_CHOICES["GEOMETRY"]), inner, without_columns=without_columns)
                for _ in range(2)
            ]
            return f"{self.choose(['1', '0'])} = {self.choose(['CONTAINS', 'INTERSECTS'])}({', '.join(shapes)})"
        if choice < 0.90:
            return f"DISTANCE({self.write_value('point', inner, without_columns=without_columns)}, {self.write_value('point', inner, without_columns=without_columns)}) < {self.choose(LITERALS['number'])}"
        if without_columns or self.remaining_pieces <= 0 or depth <= 0:
            return f"{value} IS NOT NULL"
        return self.write_subquery_condition(value, want, inner)

    def write_subquery_condition(self, value: str, wanted_kind: str, depth: int) -> str:
        """Write a condition with a subquery."""
        kept = self.scope
        source = self.write_from_item(1)
        where = f" WHERE {self.write_condition(depth)}" if self.draw_chance(0.6) else ""
        text = self.choose(
            [
                f"EXISTS (SELECT 1 AS x FROM {source}{where})",
                f"NOT EXISTS (SELECT * FROM {source}{where})",
                f"{value} {self.choose(['IN', 'NOT IN'])} (SELECT {self.write_value(wanted_kind, 0)} FROM {source}{where})",
            ]
        )
        self.scope = kept
        return text


def quote_name(name: str) -> str:
    """Quote a name where ADQL requires it."""
    plain = name.isidentifier() and name.islower() and name.upper() not in RESERVED_WORDS
    return name if plain else '"' + name.replace('"', '""') + '"'


def write_random_query(seed: int, tables: dict[str, Table]) -> str:
    """Write the query of a seed."""
    return QueryWriter(seed, tables).write_query()
