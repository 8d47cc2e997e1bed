"""From what the tracker holds to the tables and figures of a paper. The package itself imports nothing."""
