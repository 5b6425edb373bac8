"""The pipeline service: its API, and the builds that it knows."""
