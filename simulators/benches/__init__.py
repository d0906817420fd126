"""Built-in benches, as TOML files."""
