"""The embedder: template, backbone, attention, pooler; vectors and likelihoods."""
