"""A bundle becomes predictions."""
