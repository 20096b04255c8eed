"""Floor 0: the papers that pass from room to room. Standard library, numpy and Pillow only."""
