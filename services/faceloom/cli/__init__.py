"""The `faceloom` command."""
