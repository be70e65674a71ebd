"""Files of pretrained weights, which are checked by hash, converted once, and cached in a format without pickle."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from platformdirs import user_cache_path
from torch import Tensor

from genreclf.errors import UserError, require
from genreclf.run_directory import atomic_path


def cached_weights(
    name: str, sha256: str, read: Callable[[], bytes], convert: Callable[[bytes], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, which is converted the first time it is used.

    The converted tensors are cached in the user's cache folder as safetensors, under the hash of the original file. The
    cached file has a hash of its own, and is used as long as it matches that hash.

    Args:
        name: Name of the encoder.
        sha256: SHA-256 hash of the original file.
        read: Function that returns the content of the original file.
        convert: Function that converts the content of the original file to tensors by their names.

    Raises:
        UserError: The original file has another hash, or the package safetensors is missing.
    """
    require(f"encoder={name}", "encoders", "safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    kept = user_cache_path("genreclf") / "encoders" / f"{name}-{sha256[:16]}.safetensors"
    checksum = kept.with_suffix(".sha256")
    try:
        content = kept.read_bytes()
        if checksum.read_text() == hashlib.sha256(content).hexdigest():
            return load(content)
    except (OSError, UnicodeDecodeError, SafetensorError):
        pass
    tensors = {key: values.contiguous() for key, values in convert(checked(name, sha256, read())).items()}
    content = save(tensors)
    for path, written in ((kept, content), (checksum, hashlib.sha256(content).hexdigest().encode())):
        with atomic_path(path) as partial:
            partial.write_bytes(written)
    return tensors


def checked(name: str, sha256: str, content: bytes) -> bytes:
    """Return the content of a file of weights if its SHA-256 hash is `sha256`.

    Raises:
        UserError: The content has another hash.
    """
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise UserError(
            f"encoder={name}: the weights file has the SHA-256 {found}, but encoder.sha256 is {sha256}: the file is "
            "damaged or another version; download it again, or set encoder.sha256 if you want this version."
        )
    return content


def file_of(path: str | Path) -> Path:
    """Return the path of a file or folder of weights that the user has given, with ``~`` expanded.

    Raises:
        UserError: There is no such file or folder.
    """
    if not ((found := Path(path).expanduser()).is_file() or found.is_dir()):
        raise UserError(f"encoder.weights={path} is not there; set it to the weights file or folder.")
    return found
