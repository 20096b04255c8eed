"""report.html: what a training came to, why, and what to try next."""
