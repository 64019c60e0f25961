"""How much one query may say: bounds that no query of a person meets, so that none keeps planner and memory busy by its text alone.

The trees that programs build (mappings, views) have no text and no bounds.
"""

from __future__ import annotations

from typing import Final

# and signs; a list in IN of plain literals of one kind is one word. They are counted as the text is cut
WORDS: Final = 100_000
LOOK: Final = 512  # words, terms or pieces of SQL between two looks at the clock
TERMS: Final = 25_000  # values, operators, calls and conditions; of a list in IN only what is no plain literal
TABLES: Final = 64  # in one FROM: an optimizer's time grows with their square, and is not always interrupted
# in one FROM with the queries that stand in it, those of WITH counted wherever they are read: engines write them there
JOINED: Final = 256
READ: Final = 1_500  # in one query, counted likewise
SELECTS: Final = 1_500  # in one query, the operands of UNION among them
# of one GROUP BY, ORDER BY, PARTITION BY: an engine's time grows with their square, and is not always interrupted
KEYS: Final = 1_000
COLUMNS: Final = 5_000  # of one SELECT, unless * of its tables gives more
BUILDING: Final = 100  # operations that make text of text
BUILDERS: Final = frozenset({"REPLACE", "REGEXP_REPLACE"})  # functions that do, beside ||
LONGEST: Final = 32_768  # bytes of a text that is made for each row: an engine computes with thousands of rows at once
WRITTEN: Final = 50  # bytes of the engine's own SQL for each character of a query, and ..
# .. so many in any case: functions that are written with an argument twice, within one another, grow without end
ALWAYS: Final = 65_536
