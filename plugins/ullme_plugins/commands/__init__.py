"""First-party sub-commands that are no part of the framework."""
