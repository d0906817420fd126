"""The command line: parses, calls, prints, shows progress."""
