"""Queries over tables of several engines."""
