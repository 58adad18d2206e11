"""Positive numbers from the environment: one reader, one message."""

import os

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
    if mode == 0o775:
        monkeypatch.setattr("labelfactory.environment._is_private_group", lambda group: False)
    cache = tmp_path / "a/b"
    monkeypatch.setenv("LABELFACTORY_CACHE", str(cache))
    folder = own_cache_folder("code")
    (cache, *cache.parents)[depth].chmod(mode)
    with pytest.raises(PermissionError, match="other users can replace folders in"):
        own_cache_folder("code")
    (cache, *cache.parents)[depth].chmod(0o1777)  # as /tmp
    assert own_cache_folder("code") == folder


def test_a_group_that_is_the_users_alone_may_write_above(tmp_path, monkeypatch):
    """Where a system gives each user a group, ~/.cache is often writable for it."""
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "cache"))
    tmp_path.chmod(0o775)
    monkeypatch.setattr("labelfactory.environment._is_private_group", lambda group: group == os.getgid())
    assert own_cache_folder("code").is_dir()


def test_a_link_is_followed_once(tmp_path, monkeypatch):
    """The path that was looked at is the one that is read."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "link"))
    assert own_cache_folder("code").parent == tmp_path / "disk"
