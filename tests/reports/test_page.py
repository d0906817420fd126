"""The report's page: what stands in it, and that it needs nothing else."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hilonn import ConfigError, Run, report


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.words += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert report(runs / "dead", compare=[runs / "whole"], out=out) == out
    return Page(out.read_text("utf-8"))


def test_the_dead_heaters_stand_first_and_on_the_drawing(page: Page) -> None:
    words = " ".join(page.words.split())
    found = words[words.index("What stands out") : words.index("Accuracy after each epoch")]
    assert "2 of 528 heaters did not answer" in found
    assert "37, 211" in found
    assert found.index("did not answer") < 60
    assert re.search(r"came out \d+% away .*in the runs compared: \d+%", found)


def test_remedies_are_ranked_and_name_the_channels(page: Page) -> None:
    words = " ".join(page.words.split())
    found = words[words.index("What stands out") : words.index("What differs")]
    assert "37, 211 (heaters, channels 37, 211)" in found
    assert "The heaters that did not answer are in it: mend these first" in found
    assert "look at `faults`" in found
    assert "log10" not in words
    assert "times the noise of a reading" in words


def test_what_differs_between_two_runs_is_a_table(page: Page) -> None:
    words = " ".join(page.words.split())
    table = words[words.index("What differs") : words.index("Accuracy after each epoch")]
    assert re.search(r"heaters that did not answer 37, 211 none", table)
    assert re.search(r"products of layer 0 away by \d+% \d+%", table)
    assert "bench file: connections.plant.faults" in table
    assert re.search(r"test accuracy \d+\.\d\d% \d+\.\d\d%", table)
    assert "seed" not in table  # the same in both
    assert "rule" not in table


def test_every_part_is_there(page: Page) -> None:
    for heading in (
        "What stands out",
        "Budget of a pass",
        "Learning",
        "Signal and noise",
        "What was read wrongly",
        "The chip",
        "Where time went",
        "Facts",
    ):
        assert heading in page.words
    assert sum(tag == "svg" for tag, _ in page.tags) >= 6
    assert sum(tag == "img" for tag, _ in page.tags) >= 1


def test_the_budget_of_a_pass_adds_up(page: Page, runs: Path) -> None:
    words = " ".join(page.words.split())
    budget = words[words.index("Budget of a pass") : words.index("Facts")]
    for part in ("wires and devices", "settling", "arithmetic of passes", "finding phases"):
        assert re.search(rf"{part} [\d.e-]+ \d+%", budget), part
    for device in ("heaters", "inputs", "meter"):
        assert re.search(rf"{device} [\d.e-]+", budget), device
    result = Run.open(runs / "dead").result()
    assert result is not None
    whole = 1e3 * sum(result["breakdown"].values()) / result["passes"]
    assert f"all of it {whole:.3g} 100%" in budget
    assert set(result["device_seconds"]) == {"heaters", "inputs", "meter"}


def test_it_needs_no_network_and_runs_no_script(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)


def test_names_are_escaped(page: Page) -> None:
    assert "<digits> & co" in page.words


def test_images_have_words_for_those_who_do_not_see_them(page: Page) -> None:
    for tag, attributes in page.tags:
        if tag == "img":
            assert re.match(r"an? \d read as \d", attributes["alt"] or "")


def test_an_unfinished_run_and_one_of_another_rule_have_a_page(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs / "whole", copy)
    (copy / "result.json").unlink()
    lines = (copy / "events.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"heaters"' in line or b'"epoch"' in line][:2]
    (copy / "events.jsonl").write_bytes(b"".join(kept) + b'{"kind": "epoch", "torn')
    path = report(copy)
    assert path == copy / "report.html"
    text = path.read_text("utf-8")
    assert "The run has not ended: 1 epochs are there." in text
    assert "Every heater in its place" in text


def test_a_run_that_has_only_begun_has_a_page(runs: Path, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "begun", Run.open(runs / "whole").header, {"weights": []})
    run.close()
    assert "No epoch has ended." in report(tmp_path / "begun").read_text("utf-8")


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run"):
        report(tmp_path)
