"""First-party heads: what is done to a pooled vector before dimensions are cut and lengths made 1."""
