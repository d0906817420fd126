"""Writes the generated part of simulated-chip.md: ``python docs/reference/make_tables.py``.

Figures and reasons come from simulators/presets.py, so that the page cannot drift from the code (a
test compares them).
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

from hilonn.simulators import presets

PAGE = Path(__file__).with_name("simulated-chip.md")
BEGIN, END = "<!-- parameters: generated -->", "<!-- end of parameters -->"


def reasons() -> dict[str, str]:
    """The comment that argues each parameter: beside it, or in the lines above."""
    found, above = {}, []
    for line in inspect.getsource(presets.PlantParameters).splitlines():
        stripped = line.strip()
        match = re.match(r"(\w+): (?:float|int) = [^#]*(?:#\s*(.*))?$", stripped)
        if match:
            text = ": ".join(part for part in (match[2] or "", " ".join(above)) if part)
            found[match[1]] = text.replace("[P] ", "preset: ").replace("[P]", "preset").strip()
            above = []
        elif stripped.startswith("# ") and len(stripped.split()) > 4:
            above.append(stripped[2:])
        else:
            above = []
    return found


def table() -> str:
    """One row a parameter."""
    why = reasons()
    rows = [
        "| parameter | ideal | typical | harsh | unit, source, reason |",
        "|---|---|---|---|---|",
    ]
    for field in fields(presets.PlantParameters):
        figures = " | ".join(
            f"{getattr(presets.PRESETS[name], field.name):g}"
            for name in ("ideal", "typical", "harsh")
        )
        rows.append(f"| `{field.name}` | {figures} | {why[field.name]} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """``text`` with its generated part made anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
