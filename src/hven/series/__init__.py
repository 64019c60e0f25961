"""Time series over files and tables. Built in *Series*."""
