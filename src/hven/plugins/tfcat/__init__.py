"""TFCat: catalogues of features in time and frequency, as a source and as a format of tables."""
