"""Sources that read relational databases: SQLite, PostgreSQL, MariaDB and MySQL, ODBC, SQLAlchemy."""
