"""Fails unless the wheel holds every module and data file of the tree, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import PurePosixPath

ROOMS = {"drivers", "simulators", "calibration"}


def expected() -> set[str]:
    """Tracked files of the package, as they are named inside the wheel."""
    listed = subprocess.run(
        ["git", "ls-files", "hilonn", *sorted(ROOMS)], capture_output=True, text=True, check=True
    ).stdout.split()
    names = set()
    for name in listed:
        path = PurePosixPath(name)
        if path.suffix not in {".py", ".toml", ".typed", ".j2"} and path.name != "py.typed":
            continue
        top = path.parts[0]
        names.add(str(PurePosixPath("hilonn") / path) if top in ROOMS else str(path))
    return names


def main() -> int:
    """Compare, and say what is missing or too much."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = expected()
    for what, names in (("missing", wanted - inside), ("not in the tree", inside - wanted)):
        for name in sorted(names):
            print(f"{what}: {name}")
    print(f"{len(inside)} files in the wheel, {len(wanted)} in the tree")
    return int(inside != wanted)


if __name__ == "__main__":
    sys.exit(main())
