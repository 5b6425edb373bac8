"""The StyleGAN2 generator (Karras et al., 2020), which draws for the generator and for the translator."""
