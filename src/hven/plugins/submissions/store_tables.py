"""Tables of the system state: submissions, their staged files, and the rows that come from these files."""

from __future__ import annotations

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet()
submissions = TABLES.define_table(
    "submissions",
    """
    number        big key
    table_name    text index
    author        text index
    state         text
    revision      int   -- grows with each change
    created       text
    changed       text
    expires       text  -- when an open submission is discarded
    note          text  -- for the moderators
    shared_values text  -- JSON: column -> value of all rows
    report        text  -- JSON: result of the last check, and the revision that was checked
    steps         text  -- JSON: who did what, when and why
    keys          text  -- JSON: keys of the published rows
    token         text  -- of the request that made it
    """,
)
submission_files = TABLES.define_table(
    "submission_files",
    """
    number     big key
    submission big index
    name       text
    sha256     text
    bytes      big
    state      text
    findings   text  -- JSON: what the file's checker found
    """,
)
submission_rows = TABLES.define_table(
    "submission_rows",
    """
    number      big key
    submission  big index
    file        big   -- number of the file
    file_values text  -- JSON: column -> value that the file gives
    own_values  text  -- JSON: column -> value that the user entered
    """,
)
