"""How the translator is trained and evaluated."""
