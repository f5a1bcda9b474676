"""Every token attends to every other one that the model's windows allow, in both directions."""

from contextlib import AbstractContextManager

from ullme import AttentionPatcher, Layout, LoadedBackbone
from ullme_plugins.attention import _mode


class Bidirectional(AttentionPatcher):
    """Attention in both directions: the symmetric closure of the model's own mask."""

    sees_future = True

    def install(self, loaded: LoadedBackbone) -> None:
        """Wrap the mask functions. Raises AttentionError for layers that attention cannot make bidirectional."""
        _mode.install(loaded, ahead=True)

    def active(self, layout: Layout | None = None) -> AbstractContextManager[None]:
        """Both directions for forward calls inside."""
        return _mode.active(_mode.Mode(ahead=True, document=layout.document if layout else None))
