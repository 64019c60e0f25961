"""Documents that belong to rows: fetch them, keep them, extract their values."""
