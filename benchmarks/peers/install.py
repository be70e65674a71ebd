"""Create a separate environment for each peer, since their dependencies conflict with each other.

``python -m benchmarks.peers.install`` takes some minutes and about 7 GB for each peer with PyTorch's CUDA build. The
plain Lightning script needs none, since it runs in the environment of genreclf.
"""

import argparse
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / "outputs/peers/environments"
PEERS = ("autrainer", "hugging_face")
NOT_NEEDED = {"autrainer": ("huggingface_hub",)}
"""Dependencies of genreclf to leave out, by peer: its network works without, and autrainer needs an older release."""


def python_of(peer: str, environments: Path) -> Path:
    """Return the interpreter of a peer's environment."""
    return environments / peer / "bin/python"


def main() -> None:
    """Install each peer together with genreclf, whose network it trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where to put them")
    parser.add_argument("--index-url", help="a package index for PyTorch's CPU build, as for genreclf")
    arguments = parser.parse_args()
    for peer in PEERS:
        python = python_of(peer, arguments.environments)
        venv.create(python.parent.parent, with_pip=True)
        pip = [str(python), "-m", "pip", "install"]
        if arguments.index_url:
            subprocess.run([*pip, "torch", "torchaudio", "torchvision", "--index-url", arguments.index_url], check=True)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        needed = [one for one in project["dependencies"] if not one.startswith(NOT_NEEDED.get(peer, ()))]
        subprocess.run([*pip, *needed, "-r", str(HERE / f"{peer}.txt")], check=True)
        subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)
        print(f"{peer}: {python}", file=sys.stderr)


if __name__ == "__main__":
    main()
