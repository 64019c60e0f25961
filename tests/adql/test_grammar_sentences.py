"""Sentences made at random from the grammar of the recommendation itself (corpora/adql/adql-2.1.bnf): all must parse."""

from __future__ import annotations

import random
import re

import pytest

from hven.adql import parse_query
from hven.adql.adql_writer import write_adql
from hven.model.errors import ParseError
from shared import shared

#: Lexical rules, rules with slips of the pen, and those that are looser in the text than any value can be.
#: Terminals are given as they are to be written.
INSTEAD = {
    # lexical: words instead of letters
    "regular_identifier": "a | B2 | ra | dec_x | Mag",
    "delimited_identifier": '"x y" | "SELECT" | "q""q"',
    "character_string_literal": "'abc' | '' | 'it''s'",
    "unsigned_decimal": "1 | 0 | 42",
    "unsigned_numeric_literal": "1 | 2.5 | .5 | 3. | 1E5 | 2.5e-3",
    "user_defined_function_name": "ivo_f | gavo_g",
    "default_function_prefix": "ivo_",
    "comp_op": "= | LT | GT | LE | GE | NE | ALSO_NE",
    "concatenation_operator": "BARS",
    # the name of the rule differs from its uses
    "distance": "<distance_function>",
    "left paren": "(",
    "right paren": ")",
    "length": "<unsigned_decimal>",
    "approximate_numeric_type": "<approximate numeric type>",
    "with_query": "<query_name> AS ( <select_expression> )",
    "coalesce_expression": "COALESCE ( <value_expression> [ { , <value_expression> }... ] )",
    # a primary may be a literal of any kind wherever a number, a string or a geometry must stand
    "numeric_primary": "<unsigned_numeric_literal> | <any_primary> | ( <numeric_value_expression> ) | <numeric_value_function>",
    "character_primary": "<character_string_literal> | <any_primary> | ( <string_value_expression> ) | <string_value_function>",
    "geometry_value_expression": "<any_primary> | <geometry_value_function>",
    "any_primary": "<column_reference> | <set_function_specification> | <cast_specification> | <coalesce_expression>",
    # NATURAL already is the condition; a join in parentheses is no set of values
    "qualified_join": "<table_reference> [ <join_type> ] JOIN <table_reference> [ <join_specification> ] "
    "| <table_reference> NATURAL [ <join_type> ] JOIN <table_name>",
    "in_predicate_value": "( <select_expression> ) | ( <in_value_list> )",
}  # fmt: skip
SIGNS = {"LT": "<", "GT": ">", "LE": "<=", "GE": ">=", "NE": "<>", "ALSO_NE": "!=", "BARS": "||"}
ITEM = re.compile(
    r"<[^>\n]+>|\"\"\"|\"(?:[^\"\s]|\"\")(?:[^\"\n]|\"\")*\"|'(?:[^']|'')*'|\.\.\.|[\[\]{}|]|[^\s<\[\]{}|]+"
)


class Grammar:
    """The rules, each an expression of ("seq", parts), ("any", alternatives), ("opt", e), ("rep", e) or a word."""

    def __init__(self, text):
        self.rules = {}
        for name, body in re.findall(r"^ *<([^>\n]+)>\s*::?=((?:(?!\n\s*\n).)*)", text, re.DOTALL | re.MULTILINE):
            self.rules[name] = (
                body.replace('">="', " >= ")
                .replace('"<="', " <= ")
                .replace('"<>"', " <> ")
                .replace('">"', " > ")
                .replace('"<"', " < ")
            )
        self.rules.update(INSTEAD)
        self.trees = {}
        self.costs = {}
        self.said = set()

    def tree(self, name):
        if name not in self.trees:
            items = [
                item if len(item) < 3 or item[0] != '"' or name in INSTEAD else item[1:-1]
                for item in ITEM.findall(self.rules[name])
            ]
            self.trees[name], rest = self.alternatives(items)
            assert not rest, (name, rest)
        return self.trees[name]

    def alternatives(self, items):
        found, parts = [], []
        while items and items[0] not in "]}":
            item, *items = items
            if item == "|" and (parts or found):
                found.append(("seq", parts))
                parts = []
            elif item in {"[", "{"}:
                inner, items = self.alternatives(items)
                items = items[1:]
                parts.append(("opt", inner) if item == "[" else inner)
            elif item == "...":
                parts.append(("rep", parts.pop()))
            else:
                parts.append(item)
        return ("any", [*found, ("seq", parts)]), items

    def cost(self, node, seen=()):
        """The least depth of a sentence of this node."""
        if isinstance(node, str):
            if not self.is_rule(node):
                return 0
            name = node[1:-1]
            if name in self.costs:
                return self.costs[name]
            if name in seen:
                return 1000
            cost = 1 + self.cost(self.tree(name), (*seen, name))
            if not seen or cost < 900:
                self.costs[name] = min(cost, self.costs.get(name, 1000)) if not seen else cost
            return cost
        what, inner = node
        if what == "opt":
            return 0
        if what == "rep":
            return self.cost(inner, seen)
        costs = [self.cost(part, seen) for part in inner]
        return min(costs) if what == "any" else max(costs, default=0)

    def is_rule(self, item):
        return len(item) > 2 and item[0] == "<" and item[-1] == ">" and item[1:-1] in self.rules

    def list_reached_rules(self, name, seen=None):
        """The rules that a rule leads to."""
        seen = {name} if seen is None else seen
        for item in ITEM.findall(self.rules[name]):
            if self.is_rule(item) and item[1:-1] not in seen:
                seen.add(item[1:-1])
                self.list_reached_rules(item[1:-1], seen)
        return seen

    def say(self, node, rng, budget, out):
        if isinstance(node, str):
            if self.is_rule(node):
                self.said.add(node[1:-1])
                self.say(self.tree(node[1:-1]), rng, budget - 1, out)
            else:
                assert not (len(node) > 2 and node[0] == "<"), node
                out.append(SIGNS.get(node, node))
            return
        what, inner = node
        if what == "any":
            affordable = [part for part in inner if self.cost(part) <= budget]
            self.say(rng.choice(affordable) if affordable else min(inner, key=self.cost), rng, budget, out)
        elif what == "seq":
            for part in inner:
                self.say(part, rng, budget, out)
        elif what == "opt":
            if self.cost(inner) <= budget and rng.random() < 0.4:
                self.say(inner, rng, budget, out)
        else:
            for _ in range(rng.choice([1, 1, 2])):
                self.say(inner, rng, budget, out)


@pytest.fixture(scope="module")
def grammar():
    return Grammar(shared("corpora/adql/adql-2.1.bnf").read_text(encoding="utf-8"))


#: Where to begin, so that the deep rules are reached by short sentences too.
BEGINNINGS = [
    "<query_specification>",
    "SELECT <value_expression> FROM a",
    "SELECT a FROM a WHERE <search_condition>",
    "SELECT a FROM a WHERE <predicate>",
    "SELECT a FROM <table_reference>",
    "SELECT a FROM <qualified_join> , B2 JOIN dec_x <join_condition> WHERE <exists_predicate>",
    "SELECT <numeric_value_function> , <numeric_geometry_function> FROM a",
    "SELECT CAST ( a AS <character_string_type> ) , CAST ( a AS <numeric_type> ) FROM a",
    "SELECT <string_value_function> , <geometry_value_function> FROM a",
    "SELECT <math_function> , <trig_function> , <set_function_specification> FROM a",
]


def sentences(grammar):
    for seed in range(720):
        rng = random.Random(seed)
        out = []
        for item in BEGINNINGS[seed % len(BEGINNINGS)].split():
            grammar.say(item, rng, grammar.cost(item) + rng.randint(0, 9), out)
        yield " ".join(out)


def test_sentences_of_the_grammar(grammar):
    lengths = []
    for sentence in sentences(grammar):
        tree = parse_query(sentence)
        assert parse_query(write_adql(tree)) == tree
        lengths.append(len(sentence))
    assert sum(lengths) > 50_000
    assert grammar.list_reached_rules("query_specification") == grammar.said | {"query_specification"}, (
        "the sentences leave out rules"
    )


def test_half_a_sentence_is_refused(grammar):
    """Cut in the middle of a clause, no sentence parses: the word before the cut asks for more."""
    cuts = 0
    for sentence in sentences(grammar):
        words = sentence.split(" ")
        for n in (len(words) // 2, len(words) // 3):
            if words[n] in {
                "SELECT",
                "FROM",
                "WHERE",
                "AND",
                "OR",
                "NOT",
                "JOIN",
                "ON",
                "BY",
                "(",
                ",",
                "=",
                "+",
                "*",
                "IN",
                "LIKE",
                "UNION",
                "AS",
                ".",
            }:
                cuts += 1
                with pytest.raises(ParseError):
                    parse_query(" ".join(words[: n + 1]))
    assert cuts > 50
