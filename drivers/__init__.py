"""Real instruments, one file a family. They know the core and themselves."""
