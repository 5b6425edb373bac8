"""What all the rest stands on, and nothing of the domain: errors, logs, traces, pictures, atomic files."""
