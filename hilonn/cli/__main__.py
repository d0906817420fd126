"""``python -m hilonn.cli``."""

from hilonn.cli.main import main

main()
