"""Service migration: replace a running service of another program by Hven, and prove that the answers are the same."""
