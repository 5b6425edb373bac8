"""The unit of work and of commit."""
