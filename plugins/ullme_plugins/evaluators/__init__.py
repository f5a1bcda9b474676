"""First-party evaluators."""
