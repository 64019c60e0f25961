"""Apache Spark as the cluster of large tables (HATS), by Spark Connect."""
