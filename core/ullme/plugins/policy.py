"""Deny and allow lists of the index, decided before anything is imported."""

from ullme.plugins.discovery import OWN_DIST, PluginRecord
from ullme.plugins.index import Index


def refusal(record: PluginRecord, index: Index) -> str | None:
    """Why the index forbids this plugin, naming the file that says so, or None.

    A list may hold distributions, plugin names, or `dist:name`. ullme's own plugins need no place in an allow list.
    """
    names = (record.dist, record.name, record.qualified)
    for name in names:
        if name in index.deny:
            return f"'{name}' is denied by {index.deny[name]}"
    if index.allow is None or record.dist == OWN_DIST or any(name in index.allow for name in names):
        return None
    files = ", ".join(sorted(set(index.allow.values()))) or "the index"
    return f"'{record.dist}' is not in the allow list of {files}"
