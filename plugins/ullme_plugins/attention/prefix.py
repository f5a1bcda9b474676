"""One way up to the text, both ways in it: an instruction is read as the model was trained to read it.

For vectors the text is what is pooled, and what stands before it (an instruction, a first occurrence) stays causal.
For likelihoods everything but the target sees both ways and the target is causal: a prefix language model (UniLM,
arXiv:1905.03197), whose scores leak nothing.
"""

from contextlib import AbstractContextManager

from ullme import AttentionError, AttentionPatcher, Layout, LoadedBackbone
from ullme_plugins.attention import _mode, _obeyed


class Prefix(AttentionPatcher):
    """Instruction causal, text in both directions; in likelihoods the prefix in both directions, the target causal."""

    sees_future = True

    def install(self, loaded: LoadedBackbone) -> None:
        """Wrap the mask functions. Raises AttentionError for encoders, and for flash kernels (no mask of two parts)."""
        implementation = getattr(loaded.body.config, "_attn_implementation", "")
        if "flash" in implementation:
            raise AttentionError(
                f"prefix attention needs a mask, which {implementation} does not take.\n  Use sdpa, eager or flex."
            )
        _mode.install(loaded, ahead=True)
        _obeyed.require_causal(loaded, "prefix")

    def active(self, layout: Layout | None = None) -> AbstractContextManager[None]:
        """One way and two way parts, as `layout.free` says, for forward calls inside; without it all is two way."""
        layout = layout or Layout()
        return _mode.active(_mode.Mode(ahead=True, free=layout.free, document=layout.document))
