"""Where pictures come from, how they are decoded once, and how they are divided."""
