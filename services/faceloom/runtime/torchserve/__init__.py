"""TorchServe 0.12 as an engine: its configuration, its process, its client and its side of the worker."""
