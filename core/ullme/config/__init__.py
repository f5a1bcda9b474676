"""From YAML text to a typed pipeline."""
