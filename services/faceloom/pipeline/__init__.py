"""The contract of the pipeline service: its stubs and its facts. What serves it is in `builds/service`."""
