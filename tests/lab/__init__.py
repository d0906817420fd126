"""A whole emulated lab, and what happens to a run when a part of it is lost."""
