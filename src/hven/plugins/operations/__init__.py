"""Operations: find what is wrong with a site, which queries are slow, and what to watch."""
