"""Earlier versions that an S3 bucket keeps of its objects, also of those that are deleted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Version:
    """One of them.

    Attributes:
        key: the object's path in the bucket.
        id: names the version.
        etag: MD5 of its bytes; something else where it was sent in parts. Empty for the mark of a deletion.
        is_latest: whether it is what the bucket shows.
    """

    key: str
    id: str
    etag: str
    is_latest: bool


class Versions:
    """The versions in a bucket, by a file system of s3fs."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket

    def below(self, prefix: str) -> Iterator[Version]:
        """All of keys that begin with this one."""
        marks: dict[str, str] = {}
        while True:
            page = self._call("list_object_versions", Prefix=prefix, **marks)
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield Version(one["Key"], one["VersionId"], one.get("ETag", "").strip('"'), one["IsLatest"])
            if not page.get("IsTruncated"):
                return
            marks = {name: page[f"Next{name}"] for name in ("KeyMarker", "VersionIdMarker") if page.get(f"Next{name}")}

    def of(self, address: str) -> list[Version]:
        """All of an object."""
        key = address.partition("/")[2]
        return [version for version in self.below(key) if version.key == key]

    def read(self, version: Version) -> bytes:
        """Its bytes."""
        return bytes(self._s3.cat_file(f"{self._bucket}/{version.key}", version_id=version.id, max_concurrency=1))

    def delete(self, version: Version) -> None:
        """Delete it for good."""
        self._call("delete_object", Key=version.key, VersionId=version.id)

    def _call(self, method: str, **words: Any) -> Any:
        return self._s3.call_s3(method, Bucket=self._bucket, **words)


def kept_versions(fs: Any, bucket: str) -> Versions | None:
    """The versions that a bucket keeps; None where it keeps none.

    Args:
        fs: DVC's file system of the bucket.
        bucket: its name.

    Raises:
        OSError: the bucket does not tell.
    """
    status = fs.fs.call_s3("get_bucket_versioning", Bucket=bucket).get("Status")  # absent where it was never on
    return Versions(fs.fs, bucket) if status else None
