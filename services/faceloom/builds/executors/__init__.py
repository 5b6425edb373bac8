"""Where builds run when the pipeline service starts them."""
