"""Push trained models to the Hugging Face Hub and pull them from there."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from genreclf.datasets.download import hub_endpoint
from genreclf.errors import UserError, require
from genreclf.hub.bundle import LARGEST_BYTES, SIMILARITY, rebuild, write_bundle
from genreclf.reports.card import UNKNOWN_LICENSE, write_card
from genreclf.run_directory import RunDirectory


def push(run: RunDirectory, repo: str, *, license: str = UNKNOWN_LICENSE, private: bool = False) -> str:
    """Push a finished run with a model card to the Hub, and return the address of the repository.

    Args:
        run: Finished run.
        repo: Name of the repository, ``user/name``.
        license: License of the weights, for the model card.
        private: Whether the repository must be private.

    Raises:
        UserError: The run cannot be shared, there is no token, the Hub refuses, or `private` is set and the repository
            is public.
    """
    require("A shared model", "hub", "safetensors")
    from huggingface_hub import HfApi, get_token

    if repo.count("/") != 1:
        raise UserError(f"{repo} is not a name of a repository; give it as USER/NAME.")
    if get_token() is None:
        raise UserError("There is no Hugging Face token: log in with hf auth login, or set HF_TOKEN.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_bundle(run, folder)
        write_card(folder, repo=repo, license=license)
        with _sentences(repo):
            api = HfApi(endpoint=hub_endpoint())
            address = api.create_repo(repo, private=private or None, exist_ok=True)
            public = private and not api.model_info(repo).private
        if public:
            raise UserError(
                f"{repo} exists and is public: choose another --repo, or make it private on its page first."
            )
        with _sentences(repo):
            api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Share a run of genreclf")
    return str(address)


def pull(repo: str, path: Path, *, revision: str | None = None, trusted: Sequence[str] = ()) -> str:
    """Pull a model from the Hub into a new run directory, and return its score in a sentence.

    Only the files of a bundle are downloaded, each up to a maximum size; see `genreclf.hub.bundle.rebuild`.

    Args:
        repo: Name of the repository, ``user/name``.
        path: Run directory to create.
        revision: Commit, branch or tag; the newest commit by default.
        trusted: Modules, besides genreclf and PyTorch, whose classes the configuration may name.

    Raises:
        UserError: The repository cannot be read or has no valid model, or the run directory cannot be created.
    """
    require("A shared model", "hub", "safetensors")
    from huggingface_hub import HfApi

    if path.exists():
        raise UserError(f"{path} already exists; choose another folder with --to.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"--to {path} cannot be created ({error.strerror}); choose another folder.") from error
    with tempfile.TemporaryDirectory() as temporary:
        with _sentences(repo):
            api = HfApi(endpoint=hub_endpoint())
            found = api.model_info(repo, revision=revision, files_metadata=True)
            sizes = {file.rfilename: file.size for file in found.siblings or ()}
            _check_sizes(repo, sizes)
            api.snapshot_download(repo, revision=found.sha, allow_patterns=list(LARGEST_BYTES), local_dir=temporary)
        return rebuild(Path(temporary), path, trusted=trusted)


def _check_sizes(repo: str, sizes: dict[str, int | None]) -> None:
    for name, largest in LARGEST_BYTES.items():
        if name not in sizes and name != SIMILARITY:
            raise UserError(f"{repo} has no {name}: it is not a model pushed by genreclf.")
        if (size := sizes.get(name) or 0) > largest:
            raise UserError(f"{name} of {repo} has {size} bytes, more than {largest}, so it is not fetched.")


@contextmanager
def _sentences(repo: str) -> Iterator[None]:
    """Turn errors of the Hub into a `UserError`."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except HFValidationError:
        raise UserError(f"{repo} is not a name of a repository; give it as USER/NAME.") from None
    except GatedRepoError:
        raise UserError(f"{repo} is gated: accept its conditions on its page on the hub first.") from None
    except RevisionNotFoundError:
        raise UserError(f"{repo} has no such revision; choose another with --revision.") from None
    except RepositoryNotFoundError:
        raise UserError(f"{repo} is not on the hub, or closed to your token (HF_TOKEN, or hf auth login).") from None
    except (HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{repo}: the hub could not be reached, or it refused ({reason}).") from error
