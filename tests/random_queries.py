"""Writes ADQL at random: from a seed, out of the tables that the grammar and the binder themselves use, over a given catalogue.

Functions, their arguments and results are those of `hven.adql.functions`, types to cast to those of `hven.adql._expression_binder`: what is added there is
written here from then on. Types are respected most of the time, names exist most of the time; values are small, extreme or NULL.
"""

from __future__ import annotations

from random import Random

from hven.adql import _expression_parser as terms
from hven.adql._expression_binder import CAST_TARGET_TYPES
from hven.adql._function_syntax import ARGUMENT_LETTERS
from hven.adql.functions import FRAME_FUNCTION_NAMES, QUERY_FUNCTIONS, WINDOW_AGGREGATE_NAMES, WINDOW_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.signatures import FunctionDefinition, Signature
from hven.adql.value_kinds import classify_type
from hven.adql.vocabularies import load_vocabularies
from hven.model.table import Column, Table

KINDS = ("number", "integer", "text", "time", "boolean", "point", "circle", "polygon", "region", "moc", "numbers")
WORDS = {
    "NUMERIC": "number", "REAL": "number", "DOUBLE": "number", "INTEGER": "integer", "BIGINT": "integer", "TEXT": "text", "TIMESTAMP": "time",
    "BOOLEAN": "boolean", "POINT": "point", "CIRCLE": "circle", "POLYGON": "polygon", "REGION": "region", "MOC": "moc", "ARRAY": "numbers",
    "LIST": "numbers", "SUM": "number", "ELEMENT": "number", "TOTAL": "number", "INTEGER[]": "numbers",
}  # fmt: skip
CHOICES = {
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
SAID = {  # literals that only some words make sense as, by the argument's name
    "coordsys": ["'ICRS'", "''", "'GALACTIC'"], "unit": ["'deg'", "'arcsec'", "'mag'", "'nope'"], "dest_unit": ["'GHz'", "'nm'", "'eV'"], "expr_unit": ["'nm'", "'m'", "'J'"],
    "from_sys": ["'ICRS'", "'FK5'", "'X'"], "to_sys": ["'GALACTIC'", "'FK4'", "'ECLIPTIC'"], "nbins": ["1", "5", "0"], "hpxOrder": ["0", "3", "6", "29", "30"],
    "region": ["'CIRCLE 10 20 1'", "'POLYGON 1 1 2 1 2 2'", "'UNION ICRS (CIRCLE 10 20 1 CIRCLE 30 20 1)'", "'junk'"],
    "pattern": ["'V.*'", "'(a)(b)?'", "'('"], "n": ["1", "2", "0", "30"], "term": ["'image'", "'#image'", "'nope'"], "vocname": [f"'{name}'" for name in (*load_vocabularies(), "nope")][-4:] + ["'product-type'"] * 8,
}  # fmt: skip
TYPES = {
    name: type_
    for name, type_ in CAST_TARGET_TYPES.items()
    if name in terms.TYPE_NAMES or name in {"DOUBLE PRECISION", "CHAR", "VARCHAR"}
}
JOINS = ("JOIN", "INNER JOIN", "LEFT JOIN", "LEFT OUTER JOIN", "RIGHT JOIN", "FULL JOIN", "FULL OUTER JOIN")
WRONG = 0.01  # of the places where the writer does something else than what fits


def kind(column: Column) -> str:
    """Give the kind of a column in the words of `KINDS`."""
    found = classify_type(column.type)
    return (
        "integer"
        if found == "number" and column.type.is_integer
        else "numbers"
        if found in {"array", "interval"}
        else found
    )


def accepted(word: str) -> tuple[str, ...]:
    """Give the kinds that an argument takes."""
    return CHOICES.get(word) or (WORDS[word],)


def functions(wanted: str, *, aggregate: bool) -> list[tuple[FunctionDefinition, Signature, str]]:
    """List the calls that give a kind: function, signature, and the kind of what decides about the result's."""
    found = []
    for entry in QUERY_FUNCTIONS:
        if entry.aggregate is not aggregate:
            continue
        for signature in entry.signatures:
            if signature.result in {"SAME", "COMMON"}:
                if wanted in (accepts := accepted(signature.parameters[0].type_word)) or (
                    wanted == "integer" and "number" in accepts
                ):
                    found.append((entry, signature, wanted))
            elif wanted in {WORDS[signature.result], "number" if WORDS[signature.result] == "integer" else ""}:
                found.append((entry, signature, ""))
    return found


CALLS = {(wanted, aggregate): functions(wanted, aggregate=aggregate) for wanted in KINDS for aggregate in (False, True)}
NAMES = {
    kind: sorted({entry.name for entry, _, _ in found}) for kind, found in CALLS.items()
}  # each as often as any other, however many signatures it has
WINDOWED = sorted({*WINDOW_FUNCTIONS, *WINDOW_AGGREGATE_NAMES})


class Writer:
    """Writes one query; `tables` are those that may stand in FROM, by the name to write."""

    def __init__(self, seed: int, tables: dict[str, Table]) -> None:
        self.random = Random(seed)
        self.tables = {
            name: [(written(column.name), kind(column)) for column in table.columns if not column.hidden]
            for name, table in tables.items()
        }
        self.scope: list[tuple[str, list[tuple[str, str]]]] = []
        self.count = 0
        self.windows: list[str] = []  # of the WINDOW clause that is being written
        self.room = 40  # pieces that may still be nested

    # --- chances

    def often(self, share: float) -> bool:
        return self.random.random() < share

    def one(self, items):
        return self.random.choice(items)

    # --- queries

    def query(self) -> str:
        """Write a whole query."""
        head = ""
        if self.often(0.12):
            parts = []
            for name in ("w", "W2")[: self.one([1, 1, 1, 2])]:
                text, columns = self.select(2, width=2)
                parts.append(f"{name} AS ({text})")
                self.tables[name] = columns
            head = f"WITH {', '.join(parts)} "
        elif self.often(0.04):
            step = self.one(["n + 1", "n * 2", "CAST(n + 1 AS BIGINT)"])
            head = f"WITH RECURSIVE w AS (SELECT 1 AS n{self.one(['', ' FROM sky.labels'])} {self.one(['UNION', 'UNION ALL'])} SELECT {step} FROM w WHERE n < {self.one([3, 10])}) "
            self.tables["w"] = [("n", "integer")]
        text, columns = self.select(3)
        if self.often(0.15):
            return head + self.united(text, columns)
        return head + text + self.ending(columns)

    def united(self, text: str, columns: list[tuple[str, str]]) -> str:
        """Write a set operation of selects with the same kinds of columns."""
        for _ in range(self.one([1, 1, 2])):
            other = self.select(1, kinds=[kind for _, kind in columns])[0]
            text += f" {self.one(['UNION', 'UNION ALL', 'EXCEPT', 'EXCEPT ALL', 'INTERSECT', 'INTERSECT ALL'])} {other if self.often(0.8) else f'({other})'}"
        return text + (f" ORDER BY {self.random.randint(1, len(columns))}" if self.often(0.5) else "")

    def ending(self, columns: list[tuple[str, str]]) -> str:
        """Write ORDER BY and OFFSET."""
        text = ""
        if self.often(0.3):
            items = []
            for _ in range(self.one([1, 1, 2])):
                item = self.one([self.one(columns)[0], str(self.random.randint(1, len(columns)))])
                if self.often(0.02):
                    item = self.one(
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
                items.append(item + self.one(["", " ASC", " DESC"]))
            text = f" ORDER BY {', '.join(items)}"
        if self.often(0.08):
            text += f" OFFSET {self.one(['0', '1', '3', '9223372036854775807', '99999999999999999999'])}"
        return text

    def select(self, deep: int, *, width: int = 3, kinds: list[str] | None = None) -> tuple[str, list[tuple[str, str]]]:
        """Write one SELECT; gives its text and its columns."""
        kept, outer, windows = self.scope, self.count, self.windows
        self.windows = []
        source = self.source(deep)
        self.scope = self.scope if deep < 3 and self.often(0.3) else self.scope[len(kept) :]
        wanted = kinds or [
            self.one(KINDS[:6] if self.often(0.8) else KINDS) for _ in range(self.random.randint(1, width))
        ]
        where = f" WHERE {self.condition(deep)}" if self.often(0.6) else ""
        grouped = self.often(0.25)
        if grouped:
            text, names = self.grouped(deep, wanted, source, where)
        else:
            items, names = [], []
            if kinds is None and deep == 3 and self.often(0.05):
                alias, columns = self.one(self.scope)
                items, names = [self.one([f"{alias}.*", "*"])], [(columns[0][0], columns[0][1])]
            else:
                for want in wanted:
                    value = self.window(deep) if kinds is None and self.often(0.06) else self.value(want, deep)
                    names.append((f"c{len(names)}", want))
                    items.append(f"{value} AS c{len(names) - 1}")
            start = self.one(
                ["SELECT"] * 6
                + ["SELECT DISTINCT", "SELECT ALL", f"SELECT TOP {self.one(['0', '1', '5', '99999999999999999999'])}"]
            )
            text = f"{start} {', '.join(items)} FROM {source}{where}"
            text += f" WINDOW {', '.join(self.windows)}" if self.windows else ""
        self.scope, self.windows, _ = kept, windows, outer
        return text, names

    def grouped(self, deep: int, wanted: list[str], source: str, where: str) -> tuple[str, list[tuple[str, str]]]:
        """Write a SELECT with GROUP BY, or of aggregates alone."""
        items, names, keys = [], [], []
        for place, want in enumerate(wanted, 1):
            if self.often(0.4):
                value = self.value(want, 1)
                keys.append(self.one([value, f"c{place - 1}", str(place)]))
            else:
                value = (
                    self.call(want, deep - 1, aggregate=True) if CALLS[want, True] else self.value(want, 0, bare=True)
                )
            items.append(f"{value} AS c{place - 1}")
            names.append((f"c{place - 1}", want))
        if self.often(0.03):
            keys.append(self.one(["9223372036854775807", "0", "-1", "NULL", "'a'", "99999999999999999999"]))
        by = f" GROUP BY {', '.join(keys)}" if keys else ""
        having = (
            f" HAVING {self.call('number', 1, aggregate=True)} {self.one(['>', '<=', '<>'])} {self.one(LITERALS['number'])}"
            if self.often(0.2)
            else ""
        )
        return f"SELECT {', '.join(items)} FROM {source}{where}{by}{having}", names

    def source(self, deep: int) -> str:
        """Write FROM, and put what is there into scope."""
        text = self.item(deep)
        for _ in range(self.one([0, 0, 0, 1, 1, 2]) if deep > 1 else 0):
            before = self.scope[-1]
            how = self.one([*JOINS, "NATURAL JOIN", "NATURAL LEFT JOIN", "CROSS JOIN", ","])
            text = f"({text})" if " JOIN " in text and "," not in text and self.often(0.2) else text
            other = self.item(deep)
            text += f"{how} {other}" if how == "," else f" {how} {other}"
            if how in JOINS:
                shared = [name for name, _ in before[1] if name in {column for column, _ in self.scope[-1][1]}]
                text += (
                    f" USING ({self.one(shared)})"
                    if shared and self.often(0.25)
                    else f" ON {self.joining(before, self.scope[-1], deep)}"
                )
        return text

    def joining(self, one: tuple, two: tuple, deep: int) -> str:
        """Write what joins two tables: keys, positions, or any condition."""
        if "id" in dict(one[1]) and "id" in dict(two[1]) and self.often(0.7):
            return f"{one[0]}.id = {two[0]}.id"
        if "ra" in dict(one[1]) and "ra" in dict(two[1]) and self.often(0.6):
            places = f"POINT({one[0]}.ra, {one[0]}.dec), "
            return self.one(
                [
                    f"1 = CONTAINS({places}CIRCLE({two[0]}.ra, {two[0]}.dec, 0.5))",
                    f"DISTANCE({places}POINT({two[0]}.ra, {two[0]}.dec)) < 0.5",
                ]
            )
        return self.condition(min(deep, 1))

    def item(self, deep: int) -> str:
        """Write one item of FROM."""
        self.count += 1
        alias = f"t{self.count}" if self.often(0.9) else f'"T {self.count}"'
        if deep > 1 and self.often(0.12):
            kept = self.scope
            self.scope = []
            text, columns = self.select(deep - 1, width=2)
            text = (
                f"WITH v AS ({text}) SELECT * FROM v"
                if self.often(0.1)
                else text + self.ending(columns)
                if self.often(0.2)
                else text
            )
            self.scope = [*kept, (alias, columns)]
            return f"({text}) AS {alias}"
        name = self.one(list(self.tables))
        self.scope = [*self.scope, (alias, self.tables[name])]
        return f"{name if not self.often(WRONG / 4) else 'sky.nope'} AS {alias}"

    # --- values

    def value(self, want: str, deep: int, *, bare: bool = False) -> str:
        """Write a value of a kind; `bare` without columns."""
        self.room -= 1
        if self.often(WRONG):
            want = self.one(KINDS)
        if deep <= 0 or self.room <= 0 or self.often(0.3):
            return self.leaf(want, bare=bare)
        choice = self.random.random()
        if choice < 0.50 and CALLS[want, False]:
            return self.call(want, deep - 1, bare=bare)
        if choice < 0.62 and want in {"number", "integer"}:
            op = (
                self.one(["+", "-", "*", "/", "%", "&", "|", "^"])
                if want == "integer"
                else self.one(["+", "-", "*", "/"])
            )
            return f"({self.value(want, deep - 1, bare=bare)} {op} {self.value(want, deep - 1, bare=bare)})"
        if choice < 0.62 and want == "text":
            return f"({self.value('text', deep - 1, bare=bare)} || {self.value('text', deep - 1, bare=bare)})"
        if choice < 0.70:
            return f"CASE WHEN {self.condition(deep - 1, bare=bare)} THEN {self.value(want, deep - 1, bare=bare)} {self.one(['', 'ELSE ' + self.value(want, 0, bare=bare)])} END"
        if choice < 0.74:
            compared = self.one(["integer", "text"])
            return f"CASE {self.value(compared, 0, bare=bare)} WHEN {self.value(compared, 0, bare=bare)} THEN {self.value(want, 0, bare=bare)} WHEN NULL THEN NULL ELSE NULL END"
        if choice < 0.88:
            return self.cast(want, deep, bare=bare)
        if choice < 0.94 and not bare and deep > 1 and CALLS[want, True]:
            return self.single(want, deep)
        if want in {"number", "integer"}:
            arrays = (
                []
                if bare
                else [f"{alias}.{name}" for alias, items in self.scope for name, kind in items if kind == "numbers"]
            )
            if arrays and self.often(0.4):
                return f"{self.one(arrays)}[{self.value('integer', 0)}]"
            return f"({self.one('-+~' if want == 'integer' else '-+')}{self.value(want, deep - 1, bare=bare)})"
        return self.leaf(want, bare=bare)

    def single(self, want: str, deep: int) -> str:
        """Write a subquery that gives one value."""
        kept = self.scope
        source = self.item(1)
        text = f"(SELECT {self.call(want, deep - 2, aggregate=True)} FROM {source}{f' WHERE {self.condition(deep - 2)}' if self.often(0.5) else ''})"
        self.scope = kept
        return text

    def cast(self, want: str, deep: int, *, bare: bool) -> str:
        """Write a CAST to a type of the kind."""
        types = [
            name
            for name, type_ in TYPES.items()
            if (classify_type(type_) == want or (want == "integer" and type_.is_integer))
        ]
        if not types:
            return self.leaf(want, bare=bare)
        target = self.one(types)
        if target in {"CHAR", "VARCHAR"} and self.often(0.5):
            target += f"({self.one(['1', '4', '20', '20', '0', '99999999999999999999'])})"
        simple = want in {"number", "integer", "text", "time", "boolean"}
        inner = (
            self.one([want, want, "number" if want in {"integer", "text", "boolean"} else "text"]) if simple else "text"
        )
        return f"CAST({self.value(inner, deep - 1, bare=bare)} AS {target})"

    def leaf(self, want: str, *, bare: bool = False) -> str:
        """Write a column, a literal or NULL."""
        if not bare and self.scope:
            columns = [
                f"{alias}.{name}"
                for alias, items in self.scope
                for name, kind in items
                if kind == want or (want == "number" and kind == "integer")
            ]
            if columns and self.often(0.6):
                return self.one(columns)
            if want == "numbers" and columns:
                return self.one(columns)
        if self.often(0.05) or not LITERALS[want]:
            return "NULL"
        few = LITERALS[want][:4] if self.often(0.5) else LITERALS[want]
        return self.one(few)

    def call(self, want: str, deep: int, *, aggregate: bool = False, bare: bool = False) -> str:
        """Write a call that gives a kind."""
        found = CALLS[want, aggregate]
        name = self.one(NAMES[want, aggregate])
        entry, signature, same = self.one([item for item in found if item[0].name == name])
        if entry.name == "COUNT" and self.often(0.5):
            return "COUNT(*)"
        kept, self.scope = self.scope, [] if bare else self.scope
        text = self.called(entry, signature, same, deep)
        self.scope = kept
        return text

    def called(self, entry: FunctionDefinition, signature: Signature, same: str, deep: int) -> str:
        """Write the arguments of a call."""
        count = self.random.randint(signature.min_argument_count, len(signature.parameters))
        if signature.parameters and signature.parameters[-1].is_repeated:
            count += self.one([0, 1, 2] if entry.name != "POLYGON" else [0, 1])
        if self.often(WRONG):
            count = max(0, count + self.one([-1, 1]))
        args, shared = [], same
        letters = ARGUMENT_LETTERS.get(entry.name, "").replace("?", "")  # where the grammar itself asks for a literal
        for number in range(count if signature.parameters else 0):
            arg = signature.find_parameter(number)
            if number < len(letters) and letters[number] in "iul" and self.often(1 - WRONG):
                args.append(self.one(SAID.get(arg.name) or LITERALS[self.one(accepted(arg.type_word))][:4]))
            elif signature.result == "COMMON" or (signature.result == "SAME" and number == 0):
                args.append(self.value(shared or self.one(accepted(arg.type_word)), deep))
            elif arg.must_be_literal:
                args.append(self.one(SAID.get(arg.name) or LITERALS[self.one(accepted(arg.type_word))]))
            elif arg.name == "delimiter":
                args.append(self.one(["', '", "''", "LOWER('X')"]) if self.often(0.95) else self.value("text", 1))
            else:
                args.append(self.value(self.one(accepted(arg.type_word)), deep))
        distinct = (
            self.one(["DISTINCT ", "DISTINCT ", "ALL "])
            if entry.name in {"COUNT", "SUM", "AVG", "MIN", "MAX"} and self.often(0.2)
            else ""
        )
        return f"{entry.name if self.often(0.9) else entry.name.lower()}({distinct}{', '.join(args)})"

    def window(self, deep: int) -> str:
        """Write a function over a window."""
        name = self.one(WINDOWED)
        entry = WINDOW_FUNCTIONS.get(name) or QUERY_FUNCTIONS.find_function(name)
        signature = entry.signatures[0]
        same = (
            self.one(accepted(signature.parameters[0].type_word))
            if signature.parameters and signature.result == "SAME"
            else ""
        )
        text = self.called(entry, signature, same, 1)
        parts = [f"PARTITION BY {self.value(self.one(['integer', 'text']), 1)}"] if self.often(0.5) else []
        if self.often(0.8):
            parts.append(
                f"ORDER BY {self.value(self.one(['number', 'integer', 'text', 'time']), min(deep, 1))}{self.one(['', ' DESC'])}"
            )
        if (name in FRAME_FUNCTION_NAMES or name in WINDOW_AGGREGATE_NAMES) and self.often(0.4):
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
                f"{self.one(['ROWS', 'RANGE', 'GROUPS'])} {edges[begin]}"
                if self.often(0.2)
                else f"{self.one(['ROWS', 'RANGE', 'GROUPS'])} BETWEEN {edges[begin]} AND {edges[self.random.randint(max(begin, 1), 5 if self.often(0.1) else 4)]}"
            )
        if self.often(0.2):
            self.windows.append(f"v{len(self.windows)} AS ({' '.join(parts)})")
            return f"{text} OVER v{len(self.windows) - 1}"
        return f"{text} OVER ({' '.join(parts)})"

    # --- conditions

    def condition(self, deep: int, *, bare: bool = False) -> str:
        """Write a condition."""
        self.room -= 1
        if deep > 0 and self.room > 0 and self.often(0.3):
            one, two = self.condition(deep - 1, bare=bare), self.condition(deep - 1, bare=bare)
            return self.one([f"({one} AND {two})", f"({one} OR {two})", f"NOT ({one})"])
        choice, inner = self.random.random(), max(deep - 1, 0)
        want = self.one(["number", "integer", "text", "time", "boolean"])
        value = self.value(want, inner, bare=bare)
        if choice < 0.35:
            return f"{value} {self.one(['=', '<>', '!=', '<', '<=', '>', '>='])} {self.value(want, inner, bare=bare)}"
        if choice < 0.45:
            return f"{value} {self.one(['', 'NOT '])}BETWEEN {self.value(want, inner, bare=bare)} AND {self.value(want, inner, bare=bare)}"
        if choice < 0.55:
            if want == "integer" and self.often(0.1):  # the parser reads a long list of literals as a whole
                return f"{value} IN ({', '.join(map(str, range(self.one([130, 200]))))})"
            return f"{value} {self.one(['', 'NOT '])}IN ({self.value(want, inner, bare=bare)}, {self.value(want, 0, bare=bare)})"
        if choice < 0.65:
            return f"{self.value('text', inner, bare=bare)} {self.one(['', 'NOT '])}{self.one(['LIKE', 'ILIKE'])} {self.value('text', inner, bare=bare)}"
        if choice < 0.75:
            return f"{value} IS {self.one(['', 'NOT '])}NULL"
        if choice < 0.85:
            shapes = [self.value(self.one(CHOICES["GEOMETRY"]), inner, bare=bare) for _ in range(2)]
            return f"{self.one(['1', '0'])} = {self.one(['CONTAINS', 'INTERSECTS'])}({', '.join(shapes)})"
        if choice < 0.90:
            return f"DISTANCE({self.value('point', inner, bare=bare)}, {self.value('point', inner, bare=bare)}) < {self.one(LITERALS['number'])}"
        if bare or self.room <= 0 or deep <= 0:
            return f"{value} IS NOT NULL"
        return self.nested(value, want, inner)

    def nested(self, value: str, want: str, deep: int) -> str:
        """Write a condition with a subquery."""
        kept = self.scope
        source = self.item(1)
        where = f" WHERE {self.condition(deep)}" if self.often(0.6) else ""
        text = self.one(
            [
                f"EXISTS (SELECT 1 AS x FROM {source}{where})",
                f"NOT EXISTS (SELECT * FROM {source}{where})",
                f"{value} {self.one(['IN', 'NOT IN'])} (SELECT {self.value(want, 0)} FROM {source}{where})",
            ]
        )
        self.scope = kept
        return text


def written(name: str) -> str:
    """Write a name as ADQL takes it."""
    plain = name.isidentifier() and name.islower() and name.upper() not in RESERVED_WORDS
    return name if plain else '"' + name.replace('"', '""') + '"'


def query(seed: int, tables: dict[str, Table]) -> str:
    """Write the query of a seed."""
    return Writer(seed, tables).query()
