"""Deliver tables as files of fixed width with a description: to CDS (ReadMe) and to AAS (machine-readable tables)."""
