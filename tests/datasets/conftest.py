"""Builds and a store, as the tests of builds have them."""

from tests.builds.conftest import build, running_store, store

# Fixtures are known by being here.
__all__ = ["build", "running_store", "store"]
