"""The built-in experiment files."""
