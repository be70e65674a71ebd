"""The wheel and the source distribution of a release install and run in an environment of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from helpers import ROOT

from genreclf import __version__

pytestmark = pytest.mark.slow

Run = Callable[..., str]
"""Run a program of a fresh environment; return its standard output."""


def run(*command: str | Path) -> str:
    """Run a command that sees nothing of this clone; return its standard output."""
    unset = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, env=unset)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both as a release does; the wheel is built from the source distribution."""
    for name in ("build", "hatchling"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "source": source}


@pytest.fixture(params=["wheel", "source"])
def installed(request: pytest.FixtureRequest, built: dict[str, Path], tmp_path: Path) -> Run:
    """Install one of them into a fresh environment, which has nothing else but the dependencies of this one."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    others = [path for path in sys.path if path.endswith("site-packages")]
    (own / "dependencies.pth").write_text("\n".join(others))
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet")
    run(sys.executable, "-m", "pip", "--python", folder, "install", *options, built[request.param])
    return lambda program, *arguments: run(folder / "bin" / program, *arguments)


def test_installs_and_runs(installed: Run, tiny: list[str], tmp_path: Path) -> None:
    assert installed("genreclf", "--version").split()[-1] == __version__
    assert "crnn" in installed("genreclf", "list", "model")
    assert "StatisticsCRNN" in installed("genreclf", "experiment=best", "--cfg", "job")
    installed("genreclf", *tiny, "run_dir=run")
    assert json.loads((tmp_path / "run/metrics.json").read_text())["status"] == "finished"
    code = "import genreclf, hydra_plugins.genreclf_optuna as ours; print(genreclf.__file__, *ours.__path__)"
    assert all(str(tmp_path) in place for place in installed("python", "-c", code).split())


def test_the_wheel_holds_the_package_and_its_options(built: dict[str, Path]) -> None:
    names = [PurePosixPath(name) for name in zipfile.ZipFile(built["wheel"]).namelist()]
    assert {name.parts[0] for name in names} == {"genreclf", "hydra_plugins", f"genreclf-{__version__}.dist-info"}
    options = {name.relative_to("genreclf") for name in names if name.is_relative_to("genreclf/conf")}
    assert options == {PurePosixPath(path.relative_to(ROOT)) for path in ROOT.glob("conf/**/*.yaml")}
    code = {name for name in names if name.suffix == ".py"}
    assert code == {
        PurePosixPath(path.relative_to(ROOT))
        for top in ("genreclf", "hydra_plugins")
        for path in ROOT.glob(f"{top}/**/*.py")
    }


def test_the_source_distribution_holds_tests_and_manual(built: dict[str, Path]) -> None:
    with tarfile.open(built["source"]) as archive:
        names = [PurePosixPath(name).relative_to(f"genreclf-{__version__}") for name in archive.getnames()]
    folders = {name.parts[0] for name in names if len(name.parts) > 1}
    assert folders == {"genreclf", "hydra_plugins", "conf", "tests", "benchmarks", "docs"}
    known = {PurePosixPath(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.*")} - {PurePosixPath("docs/_build")}
    assert known <= set(names)
    assert not [name for name in names if {"outputs", "_build", "__pycache__", ".ci"} & set(name.parts)]


def test_the_tests_of_the_source_distribution_are_collected(built: dict[str, Path], tmp_path: Path) -> None:
    shutil.unpack_archive(built["source"], tmp_path, filter="data")
    folder = tmp_path / f"genreclf-{__version__}"
    options = ("--rootdir", folder, "--collect-only", "-q", "-p", "no:cacheprovider", folder / "tests")
    collected = run(sys.executable, "-m", "pytest", "-c", folder / "pyproject.toml", *options)
    assert int(re.findall(r"(\d+)(?:/\d+)? tests", collected)[-1]) > 1000
