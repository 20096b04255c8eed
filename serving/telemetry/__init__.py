"""What is remembered of requests and engines: metrics, the access log, traces."""
