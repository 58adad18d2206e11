"""Delete objects at a remote, with the versions that a bucket keeps of them."""

from collections.abc import Iterable
from contextlib import suppress

from dvc_objects.fs.base import ObjectFileSystem

from flows.line.object_versions import Versions, kept_versions
from flows.line.remote_store import Store
from labelfactory.errors import in_short


class Deletion:
    """Deletes objects at a remote, with the versions that it keeps of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.versions: Versions | None = None
        self.unseen: list[str] = []
        if not isinstance(store.fs, ObjectFileSystem):
            return
        if store.fs.protocol != "s3":
            self.unseen.append("versions and deleted objects, if the bucket keeps some")
            return
        try:
            self.versions = kept_versions(store.fs, bucket_and_key(store.base)[0])
        except Exception as error:  # a server without them, or credentials that may not ask
            self.unseen.append(f"versions, if the bucket keeps some: it does not tell: {in_short(error)}")

    def delete(self, addresses: Iterable[str]) -> None:
        """Delete all that are there. Each is tried; raises what the first failed with."""
        addresses, failed = list(addresses), []
        for address, is_there in zip(addresses, self._store.exist(addresses), strict=True):
            try:
                if is_there:
                    self._remove(address)
                for version in self.versions.of(address) if self.versions else ():
                    self.versions.delete(version)  # type: ignore[union-attr]
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _remove(self, address: str) -> None:
        with suppress(FileNotFoundError):  # another machine deletes it too
            self._store.fs.rm(address)


def bucket_and_key(address: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = address.partition("/")
    return bucket, key
