"""First-party plugins of ullme: one file each, grouped by kind, found through entry points like anybody's."""
