"""Clients of the services: over gRPC, and in this process."""

from faceloom.clients.client import Faceloom

__all__ = ["Faceloom"]
