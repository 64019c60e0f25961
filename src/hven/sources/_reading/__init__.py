"""What several kinds of source do alike: finding files, cutting text into records, reading cells.

No kind is named after it.
"""
