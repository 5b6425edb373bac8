"""The generator service: seeds to faces with a StyleGAN2."""
