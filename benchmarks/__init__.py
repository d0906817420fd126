"""Commands that measure what docs/results.md states. Each prints the rows it gives."""
