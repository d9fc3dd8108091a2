"""No test yet."""
