"""Before a version goes into production: it and the one that is there, on the same held-out pictures."""
