"""Every token attends to its neighbours on both sides, as far as a window that the user sets (and the model's own)."""

from contextlib import AbstractContextManager

from pydantic import Field

from ullme import AttentionPatcher, Layout, LoadedBackbone
from ullme_plugins.attention import _mode, _obeyed


class BidirectionalWindow(AttentionPatcher):
    """Attention in both directions, to tokens fewer than `window` places away."""

    class Config(AttentionPatcher.Config):
        window: int = Field(256, gt=1, description="a token sees window - 1 neighbours on each side")

    sees_future = True

    def install(self, loaded: LoadedBackbone) -> None:
        """Wrap the mask functions. Raises AttentionError for layers that cannot look ahead, or not through a window."""
        _mode.install(loaded, ahead=True)
        _obeyed.require_windows(loaded, "bidirectional-window")

    def active(self, layout: Layout | None = None) -> AbstractContextManager[None]:
        """Both directions inside the window for forward calls inside."""
        document = layout.document if layout else None
        return _mode.active(_mode.Mode(ahead=True, window=self.config.window, document=document))
