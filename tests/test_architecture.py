"""Rooms import the rooms under them and none above."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent / "genreclf"

# From the ground up; a room may import those before it. Single files stand beside the folders.
ORDER = (
    *("__version__", "errors", "values", "escaping", "progress_bar", "config_file", "limits", "run_directory"),
    *("devices", "hardware"),
    *("checkpoint", "distributed", "audio", "evaluation", "datasets", "splits", "data", "training", "models", "config"),
    *(
        "plots",
        "reports",
        "experiment",
        "audit",
        "inference",
        "comparison",
        "export",
        "recommend",
        "hub",
        "sweep",
        "app",
        "cli",
    ),
    "__main__",
)

KNOWN: set[tuple[str, str]] = set()
"""Imports that still go up; none may be added."""


def imports() -> dict[tuple[str, str], list[str]]:
    """Return which rooms import which, with the files that do."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = node.module == "genreclf"
                names = [f"genreclf.{alias.name}" for alias in node.names] if whole else [node.module]
            else:
                continue
            for name in names:
                package, _, rest = name.partition(".")
                if package == "genreclf" and rest and rest.partition(".")[0] != room:
                    found.setdefault((room, rest.partition(".")[0]), []).append(str(path.relative_to(ROOT)))
    return found


def test_no_room_imports_one_above_it() -> None:
    pairs = {pair: files for pair, files in imports().items() if pair[0] != "__init__"}
    assert {room for pair in pairs for room in pair} <= set(ORDER)
    up = {pair: files for pair, files in pairs.items() if ORDER.index(pair[0]) < ORDER.index(pair[1])}
    assert {pair: files for pair, files in up.items() if pair not in KNOWN} == {}
    assert {pair for pair in KNOWN if pair not in up} == set(), "mended: take them out of KNOWN"


def test_no_file_is_longer_than_a_reader_bears() -> None:
    folders = ("genreclf", "hydra_plugins", "benchmarks", "tests", "docs")
    paths = [path for folder in folders for path in (ROOT.parent / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT.parent)): len(path.read_text().splitlines()) for path in paths}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_the_documented_tree_is_the_tree() -> None:
    tree = (ROOT.parent / "docs/ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1].split("hydra_plugins/")[0]
    files = [file for line in re.findall(r"^  \w+\.py.*", tree, re.M) for file in re.findall(r"\w+\.py", line)]
    there = {path.name for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {*re.findall(r"^  (\w+)/", tree, re.M), *files, "__init__.py"} == there
