"""The training step, the Lightning module around it, checkpoints."""
