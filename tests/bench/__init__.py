"""Measures speed and memory into out/bench/*.json. Nothing here is asserted: figures belong to machines."""
