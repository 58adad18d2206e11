"""A remote of DVC as `labelfactory push` uses it: labelfactory's folder beside DVC's objects, object by object."""

from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from dvc.repo import Repo

from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_TABLE

FOLDER = "labelfactory"
"""labelfactory's folder in the remote, beside DVC's `files`."""
NOT_FOUND = 404
"""HTTP's status of what is not there."""
AT_ONCE = 16
"""Simultaneous transfers."""


class Store:
    """A remote of DVC, by default the one that `dvc remote default` names, and labelfactory's folder in it."""

    def __init__(self, repo: Repo, name: str = "") -> None:
        remote: Any = repo.cloud.get_remote(name=name or None)
        self.name: str = remote.name
        self.fs, self.base, self.odb = remote.fs, remote.path, remote.odb
        self.root = f"{remote.path}/{FOLDER}"
        self.has_own_versions = bool(remote.worktree or remote.fs.version_aware)
        """Whether DVC keeps outputs there by their paths, in versions of the bucket."""
        self.has_written = False
        """Whether an object was written there since."""

    def address(self, *parts: str) -> str:
        """The address of an object."""
        return "/".join([self.root, *parts])

    def picture(self, sha256: str) -> str:
        """The address of the photograph or mask with this digest."""
        return self.address("pictures", sha256[:2], sha256)

    def exist(self, addresses: list[str]) -> list[bool]:
        """Which of these objects are there."""
        self.fs.fs.invalidate_cache()  # other machines write there too
        return list(self.fs.exists(addresses, batch_size=AT_ONCE)) if addresses else []

    def pictures(self) -> set[str]:
        """Digests of all photographs and masks in the remote."""
        folder = self.address("pictures")
        self.fs.fs.invalidate_cache()  # as above
        return {PurePosixPath(path).name for path in self.fs.find(folder)} if self.fs.exists(folder) else set()

    def put(self, data: bytes, address: str) -> None:
        """Write an object, whole or not at all: in a folder that serves as remote, DVC renames a temporary file."""
        self.fs.upload_fobj(BytesIO(data), address)
        self.has_written = True

    def get(self, address: str, *, largest: int = LARGEST_TABLE) -> bytes | None:
        """Read an object; None where there is none.

        Raises:
            DataError: it has more than `largest` bytes.
            OSError: the remote does not answer.
        """
        try:
            with self.fs.open(address, "rb") as stream:
                data = bytes(stream.read(largest + 1))
        except FileNotFoundError as error:
            cause = error.__cause__  # over HTTP, no answer is given as this error too
            if not self.fs.CAN_TRAVERSE and getattr(cause, "status", 0) != NOT_FOUND:
                raise ConnectionError(f"{address}: {cause}") from error
            return None
        if len(data) > largest:
            raise DataError(f"{address}: larger than {largest // 2**20} MiB", "Delete it, and push again.")
        return data
