"""A remote of DVC as `labelfactory push` uses it: labelfactory's folder beside DVC's objects, object by object."""

import os
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from dvc.repo import Repo

from labelfactory.errors import DataError, UserError
from labelfactory.foreign_files import LARGEST_TABLE, check_regular

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
        self.is_folder = remote.fs.protocol == "local"
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
        self._refuse_links(address)
        self.fs.upload_fobj(BytesIO(data), address)
        self.has_written = True

    def refuse_links(self) -> None:
        """Refuse a folder as remote in which a link stands where DVC or this program would write or delete.

        Raises:
            UserError: there is one: it may lead to another project's files.
        """
        if self.is_folder:
            for pattern in ("files", "files/*", "files/md5/*", FOLDER, f"{FOLDER}/*", f"{FOLDER}/pictures/*"):
                for path in Path(self.base).glob(pattern):
                    _refuse_link(path)

    def _refuse_links(self, address: str) -> None:
        """The same for the folders on the way to one object, and the object itself: others may have write access too."""
        path, base = Path(address), Path(self.base)
        if self.is_folder and path.is_relative_to(base):
            for place in (path, *path.parents):
                if place == base:
                    break
                _refuse_link(place)

    def get(self, address: str, *, largest: int = LARGEST_TABLE) -> bytes | None:
        """Read an object; None where there is none.

        Raises:
            DataError: it has more than `largest` bytes.
            OSError: the remote does not answer.
        """
        if self.is_folder and os.path.lexists(address):
            check_regular(Path(address))
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


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise UserError(
            f"{path}: is a link, and nothing is written or deleted where it leads",
            "Delete it, or choose a folder in which nobody else can write: `dvc remote modify NAME url FOLDER`.",
        )
