"""Who may ask, and how often: API keys, their scopes, rate limits, and origins of other pages."""
