"""Maps of the 19 classes of CelebAMask-HQ: their names and colours, pictures of them, their size."""
