"""Match catalogues of stars with a reference catalogue."""
