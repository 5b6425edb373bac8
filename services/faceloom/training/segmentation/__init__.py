"""How the segmentation is trained and evaluated."""
