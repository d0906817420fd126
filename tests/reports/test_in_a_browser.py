"""The report in headless Chromium: drawn in light and dark, printed, and asking nothing of a network.

Screenshots are kept where ``HILONN_SCREENSHOTS`` says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from hilonn import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--hide-scrollbars",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def browse(folder: Path, page: Path, *flags: str) -> None:
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(
        runs / "dead",
        compare=[runs / "whole"],
        out=tmp_path_factory.mktemp("browser") / "report.html",
    )


def screenshot(page: Path, name: str, *flags: str, size: str = "1280,4600") -> np.ndarray:
    kept = Path(os.environ.get("HILONN_SCREENSHOTS", page.parent))
    kept.mkdir(parents=True, exist_ok=True)
    path = kept / f"{name}.png"
    browse(page.parent, page, f"--screenshot={path}", f"--window-size={size}", *flags)
    return np.asarray(matplotlib.image.imread(path))[..., :3]


def test_light_and_dark_are_drawn_with_contrast(page: Path) -> None:
    light = screenshot(page, "report-light")
    dark = screenshot(page, "report-dark", "--blink-settings=preferredColorScheme=0")
    assert light[5, 5].mean() > 0.9
    assert dark[5, 5].mean() < 0.2
    for picture in (light, dark):
        ink = np.abs(picture - picture[5, 5]).max(axis=2)
        assert 0.02 < (ink > 0.3).mean() < 0.5  # neither empty nor covered
        below = ink[len(ink) // 2 :]
        assert (below > 0.3).any()


def test_nothing_is_cut_off_on_a_narrow_window(page: Path) -> None:
    narrow = screenshot(page, "report-narrow", size="500,6000")
    ink = np.abs(narrow - narrow[5, 5]).max(axis=2)
    assert (ink[:, -4:] < 0.05).all()


def test_it_prints(page: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browse(tmp_path, page, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    pages = data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") or data.count(b"/Page>>")
    assert len(data) > 20_000, pages
