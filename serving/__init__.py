"""A bundle becomes answers: over HTTP, and as a table of a folder. Neither Keras nor TensorFlow is imported here."""
