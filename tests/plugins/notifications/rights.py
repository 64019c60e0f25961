"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/notifications": [""], "/notifications/{action}": [""]}
PATH_VALUES = {"action": "unsubscribe"}
STORE = {
    "notification_choices": "shown to the account alone: plugins/notifications/test_pages.py",
    "notification_events": "reach accounts that see the table: plugins/notifications/test_delivery.py",
    "notification_messages": "shown to the account and the operators: plugins/notifications/test_pages.py",
}
REFUSED_WAYS = {"/notifications/{action}": "its links are signed, and sent by mail: test_pages.py"}
ACCOUNT_ROUTES = {"/notifications": "what the account chose"}
