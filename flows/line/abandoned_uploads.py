"""Uploads in parts that were killed: an S3 bucket keeps the parts, which may be a photograph's, and lists them among no objects."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.line.remote_deletion import bucket_and_key
from flows.line.remote_store import Store
from flows.line.transfer_leftovers import ABANDONED_SECONDS
from labelfactory.errors import in_short


def abort_abandoned(store: Store, *, is_own: bool) -> list[str]:
    """End the uploads of this project that began so long ago that nobody sends them any more; gives a line on those that stay.

    Looked for below the two folders that a push writes to; other stores than S3 are not asked.
    """
    if store.fs.protocol != "s3":
        return []
    before, kept = datetime.now(UTC) - timedelta(seconds=ABANDONED_SECONDS), 0
    try:
        for folder in (store.root, store.odb.path):
            bucket, key = bucket_and_key(folder)
            for upload in [*_uploads(store.fs.fs, bucket, f"{key}/")]:
                if is_own and upload["Initiated"] < before:
                    names = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    store.fs.fs.call_s3("abort_multipart_upload", Bucket=bucket, **names)
                else:
                    kept += 1
    except Exception as error:  # a server without them, or credentials that may not ask or end them
        return [f"uploads in parts that were killed, if the bucket keeps some: it refuses: {in_short(error)}"]
    are = "that may be under way" if is_own else "of this project or another one"
    return [f"{kept} uploads in parts {are}"] if kept else []


def _uploads(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """All that are not ended, of keys that begin so."""
    marks: dict[str, str] = {}
    while True:
        page = s3.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **marks)
        yield from (each for each in page.get("Uploads", ()) if each["Key"].startswith(prefix))
        if not page.get("IsTruncated"):
            return
        marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
