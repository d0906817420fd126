"""Documents that can be checked are: links, generated tables, complete examples."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from hilonn.bench_file import BenchSource, parse
from hilonn.experiment import parse_experiment

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_parse(page: Path) -> None:
    for language, block in re.findall(r"```(\w+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        if language == "python":
            compile(block, str(page), "exec")
        elif language == "toml":
            parsed = tomllib.loads(block)
            if "layers" in parsed and "rule" in parsed:
                parse_experiment(block, name="example", folder=page.parent)
            elif "devices" in parsed and "backend" in parsed:
                parse(BenchSource("example", block, None))


def test_the_parameter_table_is_the_code_s() -> None:
    path = ROOT / "docs/reference/make_tables.py"
    spec = importlib.util.spec_from_file_location("make_tables", path)
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = tables.PAGE.read_text("utf-8")
    assert tables.page(text) == text, "run python docs/reference/make_tables.py"


@pytest.mark.parametrize("example", sorted(ROOT.glob("examples/*.py")), ids=lambda p: p.name)
def test_examples_compile(example: Path) -> None:
    compile(example.read_text("utf-8"), str(example), "exec")
