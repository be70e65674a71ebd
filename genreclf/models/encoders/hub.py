"""Download files from the Hugging Face hub."""

from pathlib import Path

from genreclf.datasets.download import hub_endpoint
from genreclf.errors import UserError

WEIGHTS = "model.safetensors"
"""The file of weights in a repository."""


def hub_weights(repo: str | None, *, revision: str) -> Path:
    """Return the file of weights in a repository of the hub, which is fetched the first time.

    Raises:
        UserError: There is none, or no network; the message names the ways out.
    """
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_download

    if repo is None:
        raise UserError("The hub has no weights for this network: set encoder.weights to a safetensors file.")
    try:
        return Path(hf_hub_download(repo, WEIGHTS, revision=revision, endpoint=hub_endpoint()))
    except (HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"{WEIGHTS} of {repo} cannot be downloaded from the hub ({type(error).__name__}): go online once, set "
            "HF_ENDPOINT to a hub that can be reached, or set encoder.weights to a copy of the file."
        ) from error
