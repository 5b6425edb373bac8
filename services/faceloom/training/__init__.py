"""How the models are trained and evaluated. Nothing that serves imports it."""
