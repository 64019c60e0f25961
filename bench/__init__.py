"""Journeys with budgets as ratios, each against a reference in the same run: ``python -m bench [GROUP ...] --json FILE``."""
