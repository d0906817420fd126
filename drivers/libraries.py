"""Libraries that others wrote, imported only where a bench file needs them."""

from __future__ import annotations

import importlib
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib.metadata import packages_distributions
from typing import Any

from hilonn.errors import ConfigError

_DOTTED = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")
_SPEAKING = threading.Lock()


def library(name: str, extra: str) -> Any:
    """The module ``name``; ConfigError says which extra of hilonn brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} cannot be imported ({error}); install it with `pip install 'hilonn[{extra}]'`"
        ) from error


def installed_class(dotted: str, base: type) -> type[Any]:
    """The class ``dotted`` of an installed package, which must be a ``base``. ConfigError otherwise.

    A bench file names drivers and never code: what it names here has been installed by the person who runs it, and
    only an instrument's class of the library is ever called.
    """
    if not _DOTTED.fullmatch(dotted):
        raise ConfigError(
            f"instrument = {dotted!r} is no dotted name of a class, package.module.Class"
        )
    module, _, name = dotted.rpartition(".")
    package = module.partition(".")[0]
    if package not in _installed():
        raise ConfigError(
            f"instrument = {dotted!r}: {package} is no installed package; a bench file names what is installed, never a "
            "loose file"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"instrument = {dotted!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"instrument = {dotted!r} is no {base.__module__}.{base.__qualname__}")
    return found


@cache
def _installed() -> frozenset[str]:
    return frozenset(packages_distributions())


@contextmanager
def quietly() -> Iterator[None]:
    """Within: what a library prints goes to stderr, since stdout may be a result for another program."""
    with _SPEAKING, redirect_stdout(sys.stderr):
        yield
