"""A bucket may be missing, may keep versions, and may have outputs by their paths: nothing withdrawn stays in any of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from dvc.repo import Repo
from made_line import MadeLine
from pushed_line import withdraw
from shared_bucket import BUCKET, S3_WARNINGS, empty_bucket, first_machine, server

from app.storage import push
from flows.line.object_versions import Version, Versions
from flows.line.remote_removal import clean_remote
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dvc_cache import cache_folder
from lineage.record import record

pytestmark = [pytest.mark.slow, *S3_WARNINGS]
__all__ = ["server"]


@pytest.fixture
def bucket(server, monkeypatch) -> Any:
    """A client of an empty bucket, which DVC's settings name."""
    settings = empty_bucket(server, monkeypatch)
    client = boto3.client("s3", endpoint_url=server)
    client.settings = settings
    return client


@pytest.fixture
def made(bucket, tmp_path, monkeypatch) -> MadeLine:
    """A line that nobody has pushed."""
    monkeypatch.setattr("flows.line.withdrawals.deliver", lambda: None)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = first_machine(bucket.settings, tmp_path, monkeypatch)
    record()
    return made


def keep_versions(bucket: Any, status: str = "Enabled") -> None:
    bucket.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": status})


def versions(bucket: Any) -> dict[str, list[bytes]]:
    """Key → the bytes of every version of it."""
    found: dict[str, list[bytes]] = {}
    for page in bucket.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for one in page.get("Versions", ()):
            body = bucket.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
            found.setdefault(one["Key"], []).append(body)
    return found


def holds(bucket: Any, *needles: bytes) -> set[str]:
    """Keys of which a version has some of these bytes."""
    return {key for key, all_ in versions(bucket).items() for body in all_ if any(needle in body for needle in needles)}


def push_by_paths() -> None:
    """Send outputs by their paths, as `version_aware` has DVC do."""
    config = Path(".dvc/config")
    config.write_text(f"{config.read_text()}    version_aware = true\n")
    with Repo(".") as repo:
        repo.push()


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_versions_go_too(made, bucket, status):
    """Those of photograph, true mask and outputs, and manifests that have the image's row; others stay."""
    photograph = Path("data/raw/image-1.png").read_bytes()
    keep_versions(bucket)
    push()
    keep_versions(bucket, status)
    assert holds(bucket, photograph)
    rows = len(versions(bucket)["project/labelfactory/manifest.parquet"])
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    gone = {f"project/files/md5/{md5[:2]}/{md5[2:]}" for md5 in report["deleted_from_cache"]}
    assert gone
    assert not gone & versions(bucket).keys()
    assert not holds(bucket, photograph)
    assert len(versions(bucket)["project/labelfactory/manifest.parquet"]) == rows
    for body in versions(bucket)["project/labelfactory/manifest.parquet"]:
        Path("pushed.parquet").write_bytes(body)
        assert "image-1" not in {entry.image_id for entry in read_manifest(Path("pushed.parquet")).entries}
    assert not any("DVC's remote" in line for line in report["not_ours"])


def test_versions_of_what_is_deleted_already(made, bucket):
    """An earlier program, or a person, left a mark of deletion alone: withdrawing it again deletes what lies behind."""
    push()
    keep_versions(bucket)
    photograph = Path("data/raw/image-1.png").read_bytes()
    sha256 = hashlib.sha256(photograph).hexdigest()
    bucket.put_object(Bucket=BUCKET, Key=f"project/labelfactory/pictures/{sha256[:2]}/{sha256}", Body=photograph)
    bucket.delete_object(Bucket=BUCKET, Key=f"project/labelfactory/pictures/{sha256[:2]}/{sha256}")
    assert holds(bucket, photograph)
    withdraw("image-1", made)
    assert not holds(bucket, photograph)


def test_a_version_that_must_not_be_deleted(made, bucket, monkeypatch):
    """A lock on it, or credentials that may not: the report is not complete, and all else goes."""
    keep_versions(bucket)
    push()
    photograph = Path("data/raw/image-1.png").read_bytes()

    def denied(self: object, version: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr("flows.line.object_versions.Versions.delete", denied)
    (report,) = withdraw("image-1", made)
    assert any("not all deleted: Access Denied" in line for line in report["left_over"])
    monkeypatch.undo()
    assert holds(bucket, photograph)


def test_a_bucket_that_does_not_say_whether_it_keeps_versions(made, bucket, monkeypatch):
    """The report says so."""
    push()

    def denied(*_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr("flows.line.remote_deletion.kept_versions", denied)
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert any(
        "versions, if the bucket keeps some: it does not tell: Access Denied" in line for line in report["not_ours"]
    )


def test_outputs_by_their_paths(made, bucket):
    """A remote with `version_aware`, which has no objects by MD5."""
    keep_versions(bucket)
    push_by_paths()
    before = {hashlib.md5(body).hexdigest() for bodies in versions(bucket).values() for body in bodies}
    assert not any("files/md5" in key for key in versions(bucket))
    (report,) = withdraw("image-1", made)
    assert report["complete"], report["left_over"]
    held = {hashlib.md5(body).hexdigest() for bodies in versions(bucket).values() for body in bodies}
    gone = set(report["deleted_from_cache"])
    assert gone & before
    assert not gone & held


def test_outputs_whose_bytes_the_bucket_does_not_tell(made, bucket, monkeypatch):
    """Encrypted with a key of its owner, an ETag is no MD5: nothing is found, which the report says."""
    below = Versions.below

    def encrypted(self: Versions, prefix: str) -> Iterator[Version]:
        for version in below(self, prefix):
            yield replace(version, etag=version.etag and hashlib.md5(version.etag.encode()).hexdigest())

    keep_versions(bucket)
    push_by_paths()
    monkeypatch.setattr(Versions, "below", encrypted)
    (report,) = withdraw("image-1", made)
    there = sum(map(len, versions(bucket).values()))
    assert any(f"{there} versions whose MD5 the bucket does not know" in line for line in report["not_ours"])


def test_outputs_by_their_paths_that_came_again(made, bucket):
    """Another machine sent what it had of before the withdrawal: the next push deletes its versions."""
    keep_versions(bucket)
    push_by_paths()
    cache = {f"{path.parent.name}{path.name}": path.read_bytes() for path in cache_folder().glob("*/*")}
    (report,) = withdraw("image-1", made)
    assert report["deleted_from_cache"]
    for md5 in report["deleted_from_cache"]:
        bucket.put_object(Bucket=BUCKET, Key="project/data/again", Body=cache[md5])
    clean_remote()
    held = {hashlib.md5(body).hexdigest() for bodies in versions(bucket).values() for body in bodies}
    assert not held & set(report["deleted_from_cache"])


def test_a_manifest_that_came_again_goes_with_its_versions(made, bucket):
    """A push that was under way on another machine put it there: the next push deletes the version that names the image."""
    keep_versions(bucket)
    push()
    key = "project/labelfactory/manifest.parquet"
    (before,) = versions(bucket)[key]
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    bucket.put_object(Bucket=BUCKET, Key=key, Body=before)
    clean_remote()
    assert before not in versions(bucket)[key]


def uploads(bucket: Any) -> set[str]:
    """Keys of what is sent in parts and has not ended."""
    return {each["Key"] for each in bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())}


def test_uploads_in_parts_that_were_killed(made, bucket, monkeypatch):
    """A bucket keeps the parts of a large file for ever, and shows them in no list of objects."""
    push()
    (pictures, other) = (f"project/labelfactory/pictures/00/{'0' * 64}", "another/labelfactory/pictures/part")
    for key in (pictures, other):
        upload = bucket.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        bucket.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"half a photograph")
    with monkeypatch.context() as just_begun:  # to the server, every upload is of 2010
        just_begun.setattr("flows.line.abandoned_uploads.ABANDONED_SECONDS", 10**10)
        (report,) = withdraw("image-1", made)
    assert uploads(bucket) == {pictures, other}
    assert any("1 uploads in parts that may be under way" in line for line in report["not_ours"])
    (report,) = withdraw("image-2", made)
    assert uploads(bucket) == {other}
    assert not any("uploads in parts" in line for line in report["not_ours"])


def test_a_bucket_that_is_not_there(made, bucket):
    """A wrong name is not an empty bucket."""
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace(f"s3://{BUCKET}/", "s3://stoer/"))
    (report,) = withdraw("image-1", made)
    (left,) = report["left_over"]
    assert "the bucket stoer is not there, or does not answer" in left


def test_an_empty_bucket_has_nothing(made, bucket):
    """It answers, which the report says: nothing was ever pushed, or DVC's settings name another folder of it."""
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    (line,) = (line for line in report["not_ours"] if "DVC's remote" in line)
    assert "nothing at all is there" in line


def test_photographs_that_only_an_earlier_manifest_names(made, bucket):
    """Another machine imported them under the withdrawn id: no ledger here, and no row of the last manifest, knows them."""
    keep_versions(bucket)
    push()
    pushed, other, key = read_manifest(), b"of another machine's image-1", "project/labelfactory/manifest.parquet"
    sha256 = hashlib.sha256(other).hexdigest()
    bucket.put_object(Bucket=BUCKET, Key=f"project/labelfactory/pictures/{sha256[:2]}/{sha256}", Body=other)
    rows = (replace(e, sha256=sha256) if e.image_id == "image-1" else e for e in pushed.entries)
    write_manifest(replace(pushed, entries=tuple(rows)), Path("other.parquet"))
    bucket.put_object(Bucket=BUCKET, Key=key, Body=Path("other.parquet").read_bytes())
    bucket.put_object(Bucket=BUCKET, Key=key, Body=Path("data/import/manifest.parquet").read_bytes())
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert not holds(bucket, other)
