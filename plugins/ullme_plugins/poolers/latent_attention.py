"""NV-Embed's latent attention: every token state is rewritten as a mixture of a learned dictionary, then averaged."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ullme import ComponentConfig, Pooler, WeightFolder

if TYPE_CHECKING:
    from torch import nn


class LatentAttention(Pooler):
    """Token states attend to trained latents, go through an MLP, and are averaged (NV-Embed, arXiv:2405.17428).

    h' = h + Attention(LN(h), LN(latents));  h'' = h' + GEGLU-MLP(LN(h'));  vector = mean of h'' over the pooled tokens.
    The defaults are NV-Embed's: at d = 4096 the module has 0.74 billion weights, 3 GB in fp32.
    """

    class Config(ComponentConfig):
        latents: int = Field(512, gt=0, description="vectors in the dictionary, each as long as a token state")
        heads: int = Field(8, gt=0, description="attention heads")
        head_size: int | None = Field(None, gt=0, description="length of a head; default: that of a token state")
        mlp_ratio: int = Field(4, gt=0, description="width of the MLP in lengths of a token state")
        dtype: Literal["float32", "bfloat16", "float16"] = Field(
            "float32", description="of the weights; half takes half the memory and should not be trained"
        )
        path: str | None = Field(
            None, description="trained weights: hub id, folder, .safetensors file; nvidia/NV-Embed-v2 has some"
        )
        prefix: str = Field("latent_attention_model.", description="what their names start with there")
        revision: str | None = Field(None, description="branch, tag or commit on the hub")

    def build(self, hidden_size: int) -> "nn.Module":
        """A module drawn from torch's random state, or read from `path`. Raises AssetError if that does not fit."""
        import torch

        from ullme_plugins.poolers._latent_attention import LatentAttentionPooling

        config = self.config
        sizes = (config.latents, config.heads, config.head_size or hidden_size, config.mlp_ratio)
        dtype = getattr(torch, config.dtype)
        if config.path is None:
            return LatentAttentionPooling(hidden_size, *sizes).to(dtype)
        folder = WeightFolder(config.path, config.revision)
        with torch.device("meta"):  # nothing is drawn that is overwritten at once
            pooling = LatentAttentionPooling(hidden_size, *sizes).to(dtype)
        folder.load_into(pooling.to_empty(device="cpu"), config.prefix)
        return pooling
