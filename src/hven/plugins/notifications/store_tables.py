"""Tables of the system state: what accounts chose, and the outbox of events and messages."""

from __future__ import annotations

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet()
notification_choices = TABLES.define_table(
    "notification_choices",
    """
    account   text key
    address   text  -- of mail; empty: none
    confirmed int   -- 1: the account has shown that it reads mail to the address
    webhook   text  -- empty: none
    problem   text  -- why Hven no longer calls the webhook; empty: it does
    nonce     text  -- part of what signed links and the secret of the webhook are made from
    language  text
    channels  text  -- JSON: kind of event -> channel
    digests   text  -- JSON: kind of event -> day of the last digest
    """,
)
notification_events = TABLES.define_table(
    "notification_events",
    """
    number     big key
    at         float -- seconds since 1970
    kind       text
    accounts   text  -- JSON: accounts and groups
    message    text  -- JSON, as TranslatableMessage.to_json
    lines      text  -- JSON: lines of a digest
    path       text
    table_name text
    expanded   int index -- 1: the messages exist
    """,
)
notification_messages = TABLES.define_table(
    "notification_messages",
    """
    number     big key
    event      big index
    account    text index
    channel    text
    message_id text
    state      text index
    attempts   int
    due        float
    ended      float
    error      text
    """,
)
