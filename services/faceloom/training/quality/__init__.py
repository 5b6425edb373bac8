"""How the quality is trained and evaluated."""
