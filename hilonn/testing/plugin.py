"""The pytest option ``--bench``: run the contract suites on the devices of a bench file.

    pytest --pyargs hilonn.testing.on_bench --bench lab.toml

Nothing heavy is imported here: the plugin loads with every pytest run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--bench``."""
    parser.getgroup("hilonn").addoption(
        "--bench",
        default=None,
        metavar="BENCH",
        help="a built-in bench or a TOML file, for the tests in hilonn.testing.on_bench",
    )
