"""Presets: model sections by name, one YAML file each; files that start with `_` are what several share."""
