"""Descriptions of tables that are read for drafts."""
