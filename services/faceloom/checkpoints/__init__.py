"""Files of foreign formats, read as data, and how what they hold becomes a model of the store."""
