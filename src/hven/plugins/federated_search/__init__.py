"""Search several tables at once, here and at other services."""
