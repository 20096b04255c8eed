"""A load test: how many requests a server answers in a second, and how long one waits."""
