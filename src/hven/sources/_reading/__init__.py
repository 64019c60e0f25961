"""The common parts of several kinds of source: finding files, cutting text into records, reading cells.

No kind is named after it.
"""
