"""Watches: tell accounts which rows are new in what they watch."""
