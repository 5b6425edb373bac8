"""Chains the model services into datasets. It never imports torch: its image has none."""
