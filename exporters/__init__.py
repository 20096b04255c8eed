"""A run becomes a bundle: SavedModel and ONNX, proven equal to the Keras model before anyone can see them.

This room alone needs TensorFlow, and it only where `frameworks` is imported.
"""
