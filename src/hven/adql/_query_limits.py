"""How much one query may say.

Bounds that no query of a person meets, so that none keeps planner and memory busy by its text alone.

The trees that programs build (mappings, views) have no text and no bounds.
"""

from __future__ import annotations

from typing import Final

# and signs; a list in IN of plain literals of one kind is one word. They are counted as the text is cut
MAX_QUERY_TOKENS: Final = 100_000
CLOCK_CHECK_INTERVAL: Final = 512  # words, terms or pieces of SQL between two looks at the clock
MAX_QUERY_TERMS: Final = (
    25_000  # values, operators, calls and conditions; of a list in IN only what is no plain literal
)
MAX_FROM_TABLES: Final = 64  # in one FROM: an optimizer's time grows with their square, and is not always interrupted
# in one FROM with the queries that stand in it, those of WITH counted wherever they are read: engines write them there
MAX_EXPANDED_FROM_TABLES: Final = 256
MAX_EXPANDED_QUERY_TABLES: Final = 1_500  # in one query, counted likewise
MAX_QUERY_SELECTS: Final = 1_500  # in one query, the operands of UNION among them
# of one GROUP BY, ORDER BY, PARTITION BY: an engine's time grows with their square, and is not always interrupted
MAX_CLAUSE_KEYS: Final = 1_000
MAX_SELECT_COLUMNS: Final = 5_000  # of one SELECT, unless * of its tables gives more
MAX_TEXT_OPERATIONS: Final = 100  # operations that make text of text
TEXT_FUNCTIONS: Final = frozenset({"REPLACE", "REGEXP_REPLACE"})  # functions that do, beside ||
MAX_TEXT_BYTES: Final = (
    32_768  # bytes of a text that is made for each row: an engine computes with thousands of rows at once
)
MAX_SQL_BYTES_PER_CHARACTER: Final = 50  # bytes of the engine's own SQL for each character of a query, and ..
# .. so many in any case: functions that are written with an argument twice, within one another, grow without end
MIN_SQL_BYTE_LIMIT: Final = 65_536
