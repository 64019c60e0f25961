"""What this package adds: an outbox of events, the page ``/notifications``, and the verb ``hven messages``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="notifications",
    title="Tell accounts what happened, by mail or webhook",
    settings={"notifications": "hven.plugins.notifications.settings:NOTIFICATIONS_SECTION"},
    checks=("hven.plugins.notifications.settings:find_settings_faults",),
    store_tables=PackageStateTables(
        names=("notification_choices", "notification_events", "notification_messages"),
        definitions="hven.plugins.notifications.store_tables:TABLES",
    ),
    event_kinds={"jobs.end": "hven.plugins.notifications.event_kinds:JOB_END"},
    event_service="hven.plugins.notifications.event_service:EVENT_SERVICE",
    account_removers=("hven.plugins.notifications.event_service:remove_account_notifications",),
    pages="hven.plugins.notifications.portal_pages:PAGES",
    translations="hven.plugins.notifications:texts",
    verbs={
        "messages": CommandLineVerb(
            function="hven.plugins.notifications.verbs:notifications",
            after="alerts",
            examples=(
                "hven messages test --to anna@example.org",
                "hven messages list --undelivered",
                "hven messages list --limit 20 --json",
            ),
            group_help="Mail and webhook messages to accounts.",
        ),
    },
)
