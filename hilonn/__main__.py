"""``python -m hilonn``."""

from hilonn.cli.main import main

main()
