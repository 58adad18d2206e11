"""Positive numbers from the environment: one reader, one message."""

import os
import struct

import pytest

from flows.server.intervals import beat_seconds
from labelfactory.devices import workers
from labelfactory.environment import own_cache_folder, positive
from labelfactory.errors import UserError
from labelfactory.learning.ranks import training_devices
from labelfactory.pool.pool import task_seconds

VARIABLE = "LABELFACTORY_PROBE"


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("", 7), (" 4 ", 4), (None, 7)])
def test_a_whole_number_or_the_default(monkeypatch, value, expected):
    """Unset and empty are the same."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert positive(VARIABLE, 7) == expected


@pytest.mark.parametrize(("value", "expected"), [("2.5", 2.5), ("1e3", 1000.0), ("", 0.5)])
def test_a_number_with_a_fraction_where_the_default_has_one(monkeypatch, value, expected):
    """The default says which kind of number is meant."""
    monkeypatch.setenv(VARIABLE, value)
    assert positive(VARIABLE, 0.5) == expected


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", "²", "inf", "nan"])
def test_what_is_not_a_positive_whole_number_is_refused(monkeypatch, value):
    """The variable, its value, and what to type."""
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UserError, match=f"^{VARIABLE}='{value}' must be a positive whole number") as caught:
        positive(VARIABLE, 1)
    assert caught.value.remedy == f"Type `unset {VARIABLE}`."


@pytest.mark.parametrize("value", ["0", "-0.5", "soon", "inf", "nan"])
def test_what_is_not_a_positive_number_is_refused(monkeypatch, value):
    """Infinity would wait for ever, and nothing compares with nan."""
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UserError, match=f"^{VARIABLE}='{value}' must be a positive number"):
        positive(VARIABLE, 1.0)


@pytest.mark.parametrize(
    ("variable", "read"),
    [
        ("LABELFACTORY_WORKERS", workers),
        ("LABELFACTORY_DEVICES", lambda: training_devices(8)),
        ("LABELFACTORY_TASK_SECONDS", task_seconds),
        ("LABELFACTORY_HEARTBEAT_SECONDS", beat_seconds),
    ],
)
def test_every_variable_is_refused_with_the_same_words(monkeypatch, variable, read):
    """Whoever reads it."""
    monkeypatch.setenv(variable, "x")
    with pytest.raises(UserError, match=rf"^{variable}='x' must be a positive (whole )?number\n"):
        read()


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_no_folder_is_used_that_others_can_put_theirs_in_the_place_of(tmp_path, monkeypatch, mode, depth):
    """Its files are run: who can rename a folder above it can have another one read."""
    cache = tmp_path / "a/b"
    monkeypatch.setenv("LABELFACTORY_CACHE", str(cache))
    folder = own_cache_folder("code")
    (cache, *cache.parents)[depth].chmod(mode)
    with pytest.raises(PermissionError, match="other users can replace folders in"):
        own_cache_folder("code")
    (cache, *cache.parents)[depth].chmod(0o1777)  # as /tmp
    assert own_cache_folder("code") == folder


def test_a_group_of_the_users_own_name_is_no_exception(tmp_path, monkeypatch):
    """It may be the primary group of others, whom the group's list of members does not name."""
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "cache"))
    own_cache_folder("code")
    tmp_path.chmod(0o775)
    assert tmp_path.stat().st_gid == os.getgid()
    with pytest.raises(PermissionError, match=f"{tmp_path}; `chmod go-w`"):
        own_cache_folder("code")


def test_the_folders_that_it_makes_are_not_a_groups(tmp_path, monkeypatch):
    """Where a system gives each user a group, new folders are often writable for it."""
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "home/.cache/labelfactory"))
    before = os.umask(0o002)
    try:
        assert own_cache_folder("code").is_dir()
    finally:
        os.umask(before)
    with pytest.raises(FileNotFoundError):
        own_cache_folder("other", make=False).stat()


@pytest.mark.parametrize("user", [1, 12345])
def test_who_may_write_by_an_access_control_list_is_another_user(tmp_path, monkeypatch, user):
    """Played: another user gets write permission by a POSIX list alone, renames the folder, and puts one with code in its place."""
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "cache"))
    folder = own_cache_folder("code")
    nobody = 0xFFFFFFFF
    entries = [(1, 7, nobody), (2, 7, user), (4, 5, nobody), (16, 7, nobody), (32, 5, nobody)]  # tag, permissions, user
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder.parent, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no access control lists on this disk: {error}")
    with pytest.raises(PermissionError, match="other users can replace folders in"):
        own_cache_folder("code")


def test_a_link_is_followed_once(tmp_path, monkeypatch):
    """The path that was looked at is the one that is read."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "link"))
    assert own_cache_folder("code").parent == tmp_path / "disk"
