"""How the generator is trained and evaluated."""
