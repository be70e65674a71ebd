"""Download of weights from the Hugging Face Hub."""

from pathlib import Path

from genreclf.datasets.download import hub_endpoint
from genreclf.errors import UserError

WEIGHTS = "model.safetensors"
"""Name of the file of weights in a repository."""


def hub_weights(repo: str | None, *, revision: str) -> Path:
    """Return the path of the file of weights in a repository of the hub, and download the file if necessary.

    Raises:
        UserError: The hub has no such file or cannot be reached; the message says what to do.
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
