"""A folder becomes a table."""
