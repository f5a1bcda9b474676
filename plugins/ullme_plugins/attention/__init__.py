"""First-party attention."""
