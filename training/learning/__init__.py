"""Examples and a recipe in, the best weights out."""
