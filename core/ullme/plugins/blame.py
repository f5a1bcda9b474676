"""Whose fault: an unexpected exception inside a plugin, attributed to the plugin and its distribution."""

from collections.abc import Iterator
from contextlib import contextmanager

from ullme.errors import PluginError, UllmeError


@contextmanager
def blamed(who: str) -> Iterator[None]:
    """Turn what a plugin raises into PluginError naming `who`; messages for the user and full disks pass as is."""
    try:
        yield
    except (UllmeError, OSError):
        raise
    except Exception as exc:
        raise PluginError(
            f"{who} failed: {type(exc).__name__}: {exc}\n  --debug shows where; results so far are kept."
        ) from exc
