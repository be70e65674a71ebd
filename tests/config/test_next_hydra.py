"""Hydra's next version, of which a candidate is installed in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = pytest.mark.slow

COMPOSE_ALL = """
import sys, warnings
from pathlib import Path

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import hydra
    from omegaconf import OmegaConf

    import genreclf.cli.train

    assert hydra.__version__.startswith("1.4."), hydra.__version__
    conf, count = Path(sys.argv[1]), 0
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        for file in conf.glob("*/**/[!_]*.yaml"):
            parts = file.relative_to(conf).with_suffix("").parts
            depth = 2 if parts[0] == "hydra" else 1
            option = f"{'/'.join(parts[:depth])}={'/'.join(parts[depth:])}"
            composed = hydra.compose("train", [option], return_hydra_config=True)
            ours = {key: value for key, value in OmegaConf.to_container(composed).items() if key != "hydra"}
            assert ours.keys() >= {"data", "model", "trainer"}, option
            assert OmegaConf.select(composed, "hydra.run.dir").startswith("outputs/runs/"), option
            assert OmegaConf.select(composed, "hydra.sweep.dir").startswith("outputs/sweeps/"), option
            count += 1
ours = {str(each.message).split("\\n")[0] for each in caught if "deprecated" in str(each.message)}
print(count, *sorted(ours), sep="\\n")
"""

UNAVOIDABLE = [
    "The version_base parameter is deprecated and will be removed in Hydra 1.5.",
    "register_new_resolver() is deprecated and will be removed in a future release.",
]
"""What Hydra 1.3 cannot do without."""


def test_every_yaml_composes_under_the_next_hydra(tmp_path: Path) -> None:
    wanted = ["--target", str(tmp_path / "next"), "hydra-core>=1.4.0rc3,<1.5"]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True, check=False
    )
    if pip.returncode:
        pytest.skip(f"Hydra 1.4 cannot be installed here: {pip.stderr.strip().splitlines()[-1]}")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'next'}{os.pathsep}{ROOT}"}
    composed = subprocess.run(
        [sys.executable, "-c", COMPOSE_ALL, str(ROOT / "conf")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert composed.returncode == 0, composed.stderr
    count, *deprecated = composed.stdout.splitlines()
    assert int(count) == len(list((ROOT / "conf").glob("*/**/[!_]*.yaml")))
    assert deprecated == UNAVOIDABLE
