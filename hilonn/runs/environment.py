"""What a run was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hilonn


def hilonn_version() -> str:
    """The version of this package."""
    return hilonn.__version__


def environment() -> dict[str, Any]:
    """Versions, machine, BLAS threads, and the git revision of the package's own checkout."""
    from threadpoolctl import threadpool_info

    versions = {}
    for name in ("numpy", "scipy", "numba", "scikit-learn", "pydantic"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "blas_threads": [
            {"library": pool.get("internal_api"), "threads": pool.get("num_threads")}
            for pool in threadpool_info()
        ],
        "git_revision": _revision(),
    }


def _revision() -> str | None:
    folder = Path(hilonn.__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git here: the version alone tells
    return done.stdout.strip()
