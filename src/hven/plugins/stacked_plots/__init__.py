"""Plot several data sets above one time axis: lines, spectrograms, events and images."""
