"""First-party poolers."""
