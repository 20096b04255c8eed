"""A version beside the one in production: which requests it gets, how it is compared, and when that ends."""
