-- What is refused, with place and remedy: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# mistyped SELECT
SELCT a FROM t
--! line 1, column 1: expected SELECT, found 'SELCT'; did you mean SELECT?

--# mistyped FROM
SELECT a FORM t
--! line 1, column 10: expected a comma or FROM, found 'FORM'; did you mean FROM?

--# mistyped WHERE
SELECT a FROM t WHRE b = 1
--! line 1, column 17: expected a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end, found 'WHRE'; did you mean WHERE?

--# mistyped AND
SELECT a FROM t WHERE b = 1 ADN c = 2
--! line 1, column 29: expected an operator, AND, OR or the next clause, found 'ADN'; did you mean AND?

--# mistyped ORDER
SELECT a FROM t WHERE b = 1 ODRER BY b
--! line 1, column 29: expected an operator, AND, OR or the next clause, found 'ODRER'; did you mean ORDER?

--# nothing
  -- only a comment
--! line 1, column 1: the query is empty; write SELECT ... FROM ...

--# nothing after SELECT
SELECT
--! line 1, column 7: expected a value, found the end of the text; complete the query

--# a comma too many
SELECT a, FROM t
--! line 1, column 11: expected a value, found FROM; leave out the comma before FROM, or add the missing item after the comma

--# a second query
SELECT a FROM t; SELECT b FROM t
--! line 1, column 18: only one query is accepted at a time; send each query separately

--# another statement
DROP TABLE t
--! line 1, column 1: only queries are accepted, not DROP; write SELECT; ADQL has no other statement

--# LIMIT
SELECT a FROM t LIMIT 10
--! line 1, column 17: ADQL has no LIMIT; write SELECT TOP n ... instead

--# LIMIT after WHERE
SELECT a FROM t WHERE a = 1 LIMIT 10
--! line 1, column 29: ADQL has no LIMIT; write SELECT TOP n ... instead

--# TOP before DISTINCT
SELECT TOP 10 DISTINCT a FROM t
--! line 1, column 15: DISTINCT must come before TOP; write SELECT DISTINCT TOP 10

--# TOP of a name
SELECT TOP n a FROM t
--! line 1, column 12: TOP must be a whole number without a sign, not 'n'; write a number such as 100

--# negative OFFSET
SELECT a FROM t OFFSET -1
--! line 1, column 24: OFFSET must be a whole number without a sign, not '-'; write a number such as 100

--# clauses in the wrong order
SELECT a FROM t ORDER BY a WHERE b = 1
--! line 1, column 28: WHERE is not allowed here; write the clauses in this order: SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, OFFSET

--# reserved word as a name
SELECT a AS size FROM t
--! line 1, column 13: size is a reserved word of ADQL and cannot be a name; write it in double quotes: "size"

--# reserved word as a column
SELECT date FROM t
--! line 1, column 8: expected a value, found date; to use the reserved word date as a name, write it in double quotes: "date"

--# reserved word as a table
SELECT a FROM table
--! line 1, column 15: table is a reserved word of ADQL and cannot be a name; write it in double quotes: "table"

--# function name as a column
SELECT abs FROM t
--! line 1, column 8: abs is an ADQL function and needs arguments in parentheses; write ABS(...), or "abs" if you mean a column of that name

--# name with underscore
SELECT _a FROM t
--! line 1, column 8: a name without quotes cannot begin with an underscore: _a; write it in double quotes: "_a"

--# name with digit
SELECT 2mass FROM t
--! line 1, column 8: '2mass' is neither a number nor a name; if it is a name, write it in double quotes: "2mass"

--# name with an accent
SELECT grégory FROM t
--! line 1, column 10: the letter 'é' is not allowed in a name without quotes; write the name in double quotes, or use only A-Z, a-z, 0-9 and _

--# smart quotes
SELECT a FROM t WHERE b = ‘x’
--! line 1, column 27: a typographic quote ('‘', U+2018) is not allowed in ADQL; write a straight single quote: '

--# smart dash
SELECT a FROM t WHERE b = −1
--! line 1, column 27: a typographic dash ('−', U+2212) is not allowed in ADQL; write a plain hyphen: -

--# no-break space
SELECT a FROM t
--! line 1, column 9: a special space ('\xa0', U+00A0) is not allowed in ADQL; write a plain space (special ones come from web pages and PDFs)

--# string without end
SELECT a FROM t WHERE b = 'x
--! line 1, column 27: this string is not closed; close it with a single quote; double a quote inside a string: 'it''s'

--# name without end
SELECT "a FROM t
--! line 1, column 8: this name in double quotes is not closed; close it with a double quote (strings take single quotes)

--# empty name
SELECT "" FROM t
--! line 1, column 8: an empty name; write a name between the double quotes; the empty string is ''

--# comment of C
SELECT a /* all */ FROM t
--! line 1, column 11: ADQL has no /* comments */; begin each comment with two hyphens (--); it ends at the end of the line

--# double equals
SELECT a FROM t WHERE b == 1
--! line 1, column 26: ADQL has no == operator; write a single =

--# backticks
SELECT `a` FROM t
--! line 1, column 8: a backtick is not allowed in ADQL; write special names in double quotes: "name"

--# brackets
SELECT [a] FROM t
--! line 1, column 8: square brackets are not allowed here; write special names in double quotes: "name", and array elements as a[1]

--# brackets around a table
SELECT a FROM [my table]
--! line 1, column 15: square brackets are not allowed here; write special names in double quotes: "name", and array elements as a[1]

--# slice of an array
SELECT a[1:2] FROM t
--! line 1, column 11: a colon is not allowed in ADQL; write a cast as CAST(x AS type); replace :parameters with values

--# two pairs of brackets
SELECT a[1][2] FROM t
--! line 1, column 12: an array element cannot be indexed again; write all indices of an array in one pair of brackets: a[i, j]

--# bracket without end
SELECT a[1 FROM t
--! line 1, column 12: expected a closing bracket, found FROM; close the open bracket, as in a[1]

--# cast with colons
SELECT a::integer FROM t
--! line 1, column 9: ADQL has no :: casts; write CAST(x AS type)

--# parameter
SELECT a FROM t WHERE b = ?
--! line 1, column 27: a question mark is not allowed in ADQL; write the value itself

--# hexadecimal that is none
SELECT 0xFG FROM t
--! line 1, column 8: '0xFG' is neither a number nor a name; if it is a name, write it in double quotes: "0xFG"

--# too large a number
SELECT 1e999 FROM t
--! line 1, column 8: the number 1e999 is too large or too long; write a number up to 1.8E308, with at most 400 digits

--# derived table without name
SELECT a FROM (SELECT a FROM t)
--! line 1, column 32: a subquery in FROM needs a name; write AS and a name after the subquery: (SELECT ...) AS t

--# JOIN without table
SELECT a FROM t JOIN
--! line 1, column 21: expected a table, found the end of the text; complete the query

--# ON without JOIN
SELECT a FROM t, u ON t.a = u.a
--! line 1, column 20: there is no JOIN for this ON; write JOIN in place of the comma, or move the condition to WHERE

--# ON after NATURAL JOIN
SELECT a FROM t NATURAL JOIN u ON t.a = u.a
--! line 1, column 32: a NATURAL join cannot have ON; leave out NATURAL or ON

--# USING with a table
SELECT a FROM t JOIN u USING (t.a)
--! line 1, column 32: a column name in USING cannot be preceded by a table name; write only the column name, or use ON

--# function as a condition
SELECT a FROM t WHERE CONTAINS(p, c)
--! line 1, column 23: CONTAINS returns a number, not a condition; write 1 = CONTAINS(...)

--# value as a condition
SELECT a FROM t WHERE a
--! line 1, column 24: expected a comparison (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL), found the end of the text; compare the value with something; a value alone is not a condition

--# condition as a value
SELECT a > 1 FROM t
--! line 1, column 8: a condition cannot be used as a value; combine conditions with AND, OR and NOT, or write CASE WHEN ... END

--# comparison chain
SELECT a FROM t WHERE 1 < a < 2
--! line 1, column 29: comparisons cannot be chained; write two comparisons, and join them with AND

--# two signs
SELECT - -a FROM t
--! line 1, column 10: a sign cannot directly follow another sign; put the inner sign in parentheses: -(-x)

--# LIKE with ESCAPE
SELECT a FROM t WHERE a LIKE 'x' ESCAPE '!'
--! line 1, column 34: ADQL's LIKE has no ESCAPE; leave it out

--# IS something
SELECT a FROM t WHERE a IS 1
--! line 1, column 28: expected NULL or NOT NULL after IS, found the number 1; write IS NULL or IS NOT NULL; compare other values with =

--# wrong type
SELECT CAST(a AS FLOAT) FROM t
--! line 1, column 18: expected a type (SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, TIMESTAMP, POINT, CIRCLE or POLYGON), found FLOAT; write REAL or DOUBLE PRECISION

--# number joined
SELECT 'a' || -1 FROM t
--! line 1, column 15: || joins strings, but this operand is a number; turn it into a string with CAST(x AS VARCHAR)

--# text in arithmetic
SELECT 'a' * 2 FROM t
--! line 1, column 8: * needs numbers, but this operand is a string

--# text plus text
SELECT 'a' + 'b' FROM t
--! line 1, column 8: + needs numbers, but this operand is a string; join strings with ||

--# too few arguments
SELECT MOD(a) FROM t
--! line 1, column 8: MOD takes 2 arguments, not 1; write MOD(a number, a number)

--# too many corners
SELECT POLYGON(1, 2, 3, 4, 5, 6, 7) FROM t
--! line 1, column 34: POLYGON has a longitude without a latitude; write POLYGON(lon1, lat1, lon2, lat2, lon3, lat3, ...) or POLYGON(point1, point2, point3, ...)

--# coordinate system that is no string
SELECT POINT(ICRS, 1, 2) FROM t
--! line 1, column 14: the coordinate system of POINT must be a string; write POINT(lon, lat), or leave out the coordinate system

--# unit in double quotes
SELECT IN_UNIT(a, "deg") FROM t
--! line 1, column 19: IN_UNIT needs a string in single quotes here; write strings in single quotes: 'deg'

--# frame that ends before it begins
SELECT SUM(a) OVER (ORDER BY a ROWS BETWEEN CURRENT ROW AND 1 PRECEDING) FROM t
--! line 1, column 45: this frame ends before it begins; write the earlier bound first: BETWEEN 1 PRECEDING AND CURRENT ROW

--# frame of half rows
SELECT SUM(a) OVER (ORDER BY a ROWS 1.5 PRECEDING) FROM t
--! line 1, column 37: ROWS needs a whole number, not the number 1.5; use RANGE for distances between values

--# frame without a second end
SELECT SUM(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING) FROM t
--! line 1, column 56: expected AND and the other end of the frame, found ')'; write ROWS BETWEEN 1 PRECEDING AND CURRENT ROW, or ROWS 1 PRECEDING

--# end of a frame that is none
SELECT SUM(a) OVER (ORDER BY a ROWS BETWEEN a PRECEDING AND CURRENT ROW) FROM t
--! line 1, column 45: expected a bound of the frame (UNBOUNDED PRECEDING, n PRECEDING, CURRENT ROW, n FOLLOWING or UNBOUNDED FOLLOWING), found 'a'

--# window named twice
SELECT SUM(a) OVER w FROM t WINDOW w AS (), W AS ()
--! line 1, column 45: WINDOW defines 'W' twice

--# SQL function that ADQL reserves
SELECT SUBSTRING(a, 1, 2) FROM t
--! line 1, column 8: ADQL has no function SUBSTRING; write REGEXP_EXTRACT(s, '^.{4}(.{3})', 1) for three characters after the fourth, or SPLIT_PART(s, separator, n)

--# five parts
SELECT a.b.c.d.e FROM t
--! line 1, column 8: a column name has at most four parts; write [[catalog.]schema.]table.column

--# WITH inside
SELECT a FROM (WITH x AS (SELECT a FROM t) SELECT a FROM x) AS d
--! line 1, column 16: WITH is allowed only at the beginning of the whole query; move WITH to the beginning; its tables can be used in every subquery

--# ORDER BY before UNION
SELECT a FROM t ORDER BY a UNION SELECT a FROM u
--! line 1, column 28: ORDER BY and OFFSET are not allowed before UNION; move them to the end, or enclose the query before UNION in parentheses

--# parenthesis not closed
SELECT (a + 1 FROM t
--! line 1, column 15: expected a closing parenthesis, found FROM; close the open parenthesis here, or remove it

--# parenthesis not opened
SELECT a FROM t)
--! line 1, column 16: expected the end of the query, found ')'; remove it, or add the opening parenthesis

--# list not closed
SELECT a FROM t WHERE a IN (1, 2
--! line 1, column 33: expected a comma or a closing parenthesis in the list of IN, found the end of the text; complete the query

--# on line three
SELECT a
FROM t
WHERE b == 2
--! line 3, column 10: ADQL has no == operator; write a single =

--# missing comma
SELECT a b c FROM t
--! line 1, column 12: expected a comma or FROM, found 'c'; separate columns with commas

--# timestamp literal
SELECT a FROM t WHERE b > TIMESTAMP '2020-01-01'
--! line 1, column 27: ADQL has no TIMESTAMP '...' literals; write CAST('...' AS TIMESTAMP), or the string alone

--# interval literal
SELECT a FROM t WHERE b > INTERVAL '1' DAY
--! line 1, column 27: ADQL has no INTERVAL '...' literals; compute with days: ISO(ivo_to_jd(t) + 1); for months, use add_months(t, n)

--# GROUP without BY
SELECT a FROM t GROUP a
--! line 1, column 23: expected BY after GROUP, found 'a'; write GROUP BY

--# comma after TOP
SELECT TOP 10, a FROM t
--! line 1, column 14: no comma is allowed after TOP and its number; leave out the comma between TOP 10 and the columns

--# two commas
SELECT a,, b FROM t
--! line 1, column 10: expected a value, found ','; remove one of the two commas

--# empty list
SELECT a FROM t WHERE a IN ()
--! line 1, column 29: the list after IN is empty; write at least one value

--# string as a table
SELECT a FROM 't'
--! line 1, column 15: expected a table, found the string 't'; write names without quotes or in double quotes; single quotes are for strings

--# reversed operator
SELECT a FROM t WHERE a => 1
--! line 1, column 26: ADQL has no => operator; write >=

--# AND of C
SELECT a FROM t WHERE a = 1 && b = 2
--! line 1, column 30: ADQL has no && operator; write AND

--# OR of C
SELECT a FROM t WHERE a = 1 || b = 2
--! line 1, column 34: comparisons cannot be chained; write OR; || joins strings

--# power sign
SELECT a ** 2 FROM t
--! line 1, column 11: ADQL has no ** operator; write POWER(a, b)

--# regular expression
SELECT a FROM t WHERE a ~ 'x'
--! line 1, column 25: ADQL has no ~ operator between two values; use LIKE or ILIKE (with % and _), or REGEXP_MATCH(s, pattern) = 1

--# ASCENDING
SELECT a FROM t ORDER BY a ASCENDING
--! line 1, column 28: ADQL has no ASCENDING; write ASC, or leave it out

--# the time now
SELECT CURRENT_TIMESTAMP FROM t
--! line 1, column 8: ADQL has no CURRENT_TIMESTAMP; write the time as a string: '2000-01-01T12:00:00'

--# no FROM
SELECT *
--! line 1, column 9: expected a comma or FROM, found the end of the text; add FROM and a table

--# no FROM, and a condition
SELECT 1 WHERE 1 = 1
--! line 1, column 10: expected a comma or FROM, found WHERE

--# column list of an alias
SELECT x FROM t AS u (x)
--! line 1, column 22: ADQL does not allow a list of column names here; use AS in a subquery to name the columns

--# IN of nothing
SELECT a FROM t WHERE a IN b
--! line 1, column 28: expected a list in parentheses or a subquery after IN, found 'b'; write IN (1, 2, 3)

--# quote inside a string
SELECT a FROM t WHERE b = 'O'Brien'
--! line 1, column 35: this string is not closed; close it with a single quote; double a quote inside a string: 'it''s'

--# mistyped JOIN
SELECT a FROM t u JION v ON u.a = v.a
--! line 1, column 19: expected a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end, found 'JION'; did you mean JOIN?

--# mistyped LIKE
SELECT a FROM t WHERE a LIKES 'x'
--! line 1, column 25: expected a comparison (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL), found 'LIKES'; did you mean LIKE?

--# row values
SELECT a FROM t WHERE (a, b) IN (SELECT c FROM u)
--! line 1, column 25: ADQL has no row values such as (a, b); compare the parts one by one, and join the comparisons with AND

--# ANY
SELECT a FROM t WHERE a = ANY (SELECT b FROM u)
--! line 1, column 27: ADQL has no function ANY; see the functions of this service in /tap/capabilities

--# WITH alone
WITH
--! line 1, column 5: expected a name after WITH, found the end of the text; complete the query
