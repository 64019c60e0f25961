"""Calls of the standard's own functions: the forms of the grammar, and those that can never be right."""

from __future__ import annotations

import re

import pytest

from hven.adql import parse_query
from hven.adql._function_syntax import AGGREGATE_NAMES, STANDARD_FUNCTION_NAMES
from hven.model.errors import ParseError
from shared import shared

RIGHT = """
ABS(a) CEILING(a) DEGREES(a) EXP(a) FLOOR(a) LOG(a) LOG10(a) MOD(a,b) PI() POWER(a,b) RADIANS(a) RAND() RAND(1) ROUND(a) ROUND(a,2) ROUND(a,-2) ROUND(a,+2)
SQRT(a) TRUNCATE(a) TRUNCATE(a,1) ACOS(a) ASIN(a) ATAN(a) ATAN2(a,b) COS(a) COT(a) SIN(a) TAN(a) ABS(-a) ABS(NULL) ABS(f('x'))
LOWER(a) UPPER('a') LOWER(a||b) UPPER(LOWER(a)) IN_UNIT(a,'deg') IN_UNIT(2*a,'km/s') COALESCE(a) COALESCE(a,'b',NULL)
COUNT(*) COUNT(a) COUNT(DISTINCT(a)) SUM(a) MAX('a') AVG(a+b)
POINT(a,b) POINT('ICRS',a,b) POINT('',-1,2) CIRCLE(a,b,c) CIRCLE('ICRS',a,b,c) CIRCLE(p,1) CIRCLE('ICRS',p,1) CIRCLE(POINT(1,2),a)
BOX(a,b,c,d) BOX('ICRS',a,b,c,d) BOX(p,c,d) BOX('ICRS',POINT(1,2),c,d)
POLYGON(1,2,3,4,5,6) POLYGON('ICRS',1,2,3,4,5,6) POLYGON(1,2,3,4,5,6,7,8) POLYGON(p,q,r) POLYGON('ICRS',p,q,r,s) POLYGON(p,q,POINT(1,2)) POLYGON(a,b,c,d,e,f)
POLYGON(a,b,c,d,e,f,g) REGION('CIRCLE') CENTROID(c) CENTROID(CIRCLE(1,2,3)) CENTROID(f(a))
AREA(c) AREA(POLYGON(p,q,r)) COORD1(p) COORD2(POINT(1,2)) COORD1(CENTROID(c)) COORDSYS(p) DISTANCE(p,q) DISTANCE(POINT(1,2),CENTROID(c)) DISTANCE(a,b,c,d)
DISTANCE(1,2,3,4) CONTAINS(p,c) CONTAINS(POINT(1,2),CIRCLE(1,2,3)) INTERSECTS(REGION('x'),c) CONTAINS(f(a),g(b))
"""
WRONG = """
ABS() ABS(a,b) ABS('a') ABS(POINT(1,2)) ABS(LOWER(a)) ABS(a||b) MOD(a) MOD(a,b,c) MOD('a',b) PI(1) RAND(a) RAND(-1) RAND(1.5) RAND(1,2) ROUND() ROUND(a,b)
ROUND(a,1.5) ROUND(a,~1) ROUND(a,TRUE) ROUND(a,1,2) ATAN2(a) SIN() POWER(a)
LOWER() LOWER(a,b) LOWER(SIN(a)) UPPER(POINT(1,2)) UPPER(1+a) IN_UNIT(a) IN_UNIT(a,b) IN_UNIT('a','deg') IN_UNIT(a,"deg") COALESCE()
COUNT() COUNT(a,b) SUM(*) MAX(a,b) ABS(*) ABS(DISTINCT(a)) AVG()
POINT() POINT(a) POINT("ICRS",a,b) POINT(a,b,c) POINT('ICRS',a) POINT('ICRS',a,'b') POINT(a,'b') POINT(POINT(1,2),a) POINT('ICRS',a,b,c) POINT('ICRS','ICRS',a,b)
CIRCLE(a) CIRCLE(1,2) CIRCLE(a,b,c,d) CIRCLE('ICRS',1,2) CIRCLE(p,'1') CIRCLE(p,POINT(1,2)) CIRCLE(POINT(1,2),b,c)
BOX(a,b) BOX(1,b,c) BOX(a,b,c,d,e) BOX(POINT(1,2),b,c,d)
POLYGON() POLYGON('ICRS') POLYGON(p,q) POLYGON(1,2,3,4) POLYGON(1,2,3,4,5) POLYGON(1,2,3,4,5,6,7) POLYGON(a,2,3,4,5,6,7) POLYGON(1,2,POINT(1,2),4,5,6)
POLYGON('ICRS',p,q) POLYGON(1,2,3) REGION() REGION(a) REGION('a'||b) REGION(1) CENTROID() CENTROID(3) CENTROID('a') CENTROID(a,b)
AREA() AREA(2) AREA(a+1) COORD1() COORD1(1) COORD1(a,b) COORDSYS('a') DISTANCE(a) DISTANCE(1,2) DISTANCE(a,b,c) DISTANCE(p,q,1,2,3) DISTANCE(p,SIN(a))
DISTANCE(POINT(1,2),a,b,c) CONTAINS(p) CONTAINS(1,c) CONTAINS(p,'c') INTERSECTS(a,b,c) INTERSECTS(p,-a)
"""


@pytest.mark.parametrize("call", RIGHT.split())
def test_right_calls(call):
    assert parse_query(f"SELECT {call} FROM t")


@pytest.mark.parametrize("call", WRONG.split())
def test_wrong_calls_say_the_form(call):
    with pytest.raises(ParseError) as caught:
        parse_query(f"SELECT {call} FROM t")
    assert caught.value.message
    assert caught.value.line == 1


def test_every_function_of_the_grammar_can_be_called():
    """The rules of the BNF that begin with a name and a parenthesis are our callable words, and no others."""
    grammar = shared("corpora/adql/adql-2.1.bnf").read_text(encoding="utf-8")
    named = set(re.findall(r"\b([A-Z][A-Z0-9_]+)\s*<left_paren>", grammar)) - {"CAST", "USING", "CHAR", "VARCHAR"}
    assert named | AGGREGATE_NAMES == STANDARD_FUNCTION_NAMES
