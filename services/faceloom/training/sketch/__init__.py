"""How the sketch is trained and evaluated."""
