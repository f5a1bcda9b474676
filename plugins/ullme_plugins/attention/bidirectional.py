"""Every token attends to every other one that the model's windows allow, in both directions."""

from contextlib import AbstractContextManager

from ullme import AttentionError, AttentionPatcher, LoadedBackbone
from ullme_plugins.attention import _mode


class Bidirectional(AttentionPatcher):
    """Attention in both directions: the symmetric closure of the model's own mask."""

    sees_future = True

    def install(self, loaded: LoadedBackbone) -> None:
        """Wrap the mask functions. Raises AttentionError for layers that attention cannot make bidirectional."""
        if loaded.recurrent:
            raise AttentionError(
                f"{type(loaded.model).__name__} has layers that read the text left to right whatever the attention "
                f"({', '.join(loaded.recurrent)}).\n  Use `attention: causal` with `pooler: last`, or another backbone."
            )
        _mode.install(loaded.body.config._attn_implementation)

    def active(self) -> AbstractContextManager[None]:
        """Both directions for forward calls inside."""
        return _mode.symmetric(True)
