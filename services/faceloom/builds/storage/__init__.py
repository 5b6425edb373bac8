"""Where builds lie: local folders, and prefixes of an object store."""
