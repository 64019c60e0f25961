"""The one road to data: run(query, who, ...) -> Result."""
