"""Limits on the size of one query.

A query that a person writes stays far below these limits. They keep a generated query from occupying the planner and
the memory by its text alone. Trees that programs build (mappings, views) have no text and no limits.
"""

from __future__ import annotations

from typing import Final

# The lexer counts tokens. A long list of literals of one kind in IN is one token.
MAX_QUERY_TOKENS: Final = 100_000
# The deadline of a query is checked after this number of tokens, terms or pieces of SQL.
CLOCK_CHECK_INTERVAL: Final = 512
# Terms are values, operators, calls and conditions. The plain literals of a list in IN do not count.
MAX_QUERY_TERMS: Final = 25_000
# The time of an optimizer grows with the square of the tables in one FROM, and not every engine can interrupt it.
MAX_FROM_TABLES: Final = 64
# Tables in one FROM with those of its subqueries. A table of WITH counts wherever it is read, since engines inline it.
MAX_EXPANDED_FROM_TABLES: Final = 256
MAX_EXPANDED_QUERY_TABLES: Final = 1_500  # in the whole query, counted in the same way
MAX_QUERY_SELECTS: Final = 1_500  # in the whole query, including the operands of UNION
# Keys of one GROUP BY, ORDER BY or PARTITION BY. The time of an engine grows with their square, as for tables.
MAX_CLAUSE_KEYS: Final = 1_000
MAX_SELECT_COLUMNS: Final = 5_000  # of one SELECT, unless the * of its tables has more
MAX_TEXT_OPERATIONS: Final = 100  # operations that make text of text: || and these functions
TEXT_FUNCTIONS: Final = frozenset({"REPLACE", "REGEXP_REPLACE"})
# Size of a text that is made for each row. An engine holds thousands of rows in memory at once.
MAX_TEXT_BYTES: Final = 32_768
# Size of the SQL for each character of the query, and the size that is always allowed. Some functions are written with
# an argument twice, so the SQL of nested calls grows exponentially.
MAX_SQL_BYTES_PER_CHARACTER: Final = 50
MIN_SQL_BYTE_LIMIT: Final = 65_536
