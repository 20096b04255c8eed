"""How a request reaches an engine."""
