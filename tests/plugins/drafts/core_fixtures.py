"""What tests of the core and of other packages use of this package: its drafts."""

from __future__ import annotations

from hven.plugins.drafts import table_drafting
from hven.plugins.drafts.database_tables import inspect_database_table, split_database_address
from hven.plugins.drafts.drafting import create_descriptor, write_table_draft

DRAFTERS = {
    "create_descriptor": create_descriptor,
    "inspect_database_table": inspect_database_table,
    "split_database_address": split_database_address,
    "table_drafting": table_drafting,
    "write_table_draft": write_table_draft,
}
# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/drafts/trial": "the page /trial"}
