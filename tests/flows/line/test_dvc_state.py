"""DVC's notes lie in the project, in folders of its owner: others cannot put in what DVC would unpickle."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.line.dvc_repo import open_repo
from flows.line.dvc_state import VARIABLE, keep_state_private
from labelfactory.errors import UserError
from labelfactory.files import DiskError

SITE = Path(f".dvc/tmp/site-{os.geteuid()}")


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """An empty git and DVC repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    subprocess.run(["git", "init", "-q"], check=True)
    Repo.init()
    return tmp_path


FULL = sqlite3.OperationalError("database or disk is full")
DAMAGED = sqlite3.DatabaseError("database disk image is malformed")


@pytest.mark.parametrize(("error", "said"), [(FULL, "no space is left on its disk"), (DAMAGED, "image is malformed")])
@pytest.mark.parametrize("when", ["at the start", "in a run"])
def test_errors_of_dvcs_database_are_two_lines(repository, monkeypatch, error, said, when):
    """Played: `labelfactory run` on a full disk, which DVC's database notices before any file is written."""

    def fails(*_: object) -> None:
        raise error

    if when == "at the start":
        monkeypatch.setattr("flows.line.dvc_repo.Repo", fails)
    with pytest.raises(DiskError, match=rf"^\.dvc/tmp: .*{said}") as caught, open_repo():
        fails()
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.problem + caught.value.remedy


def others_may_write(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


@pytest.mark.parametrize("mask", [0o022, 0o000], ids=oct)
def test_no_folder_of_dvcs_notes_can_be_replaced_by_others(repository, mask):
    """Down to the databases; also where new files are for everybody."""
    before = os.umask(mask)
    try:
        with open_repo() as repo:
            place = Path(repo.site_cache_dir)
            repo.state.hashes["a"] = "b"
            assert not repo.index.stages
    finally:
        os.umask(before)
    assert place.is_relative_to(repository / SITE)
    above = [place.parent, *place.parent.relative_to(repository / SITE).parents]
    assert not any(others_may_write(repository / SITE / folder) for folder in above)


SETTINGS = """['remote "store"']
    url = "s3://a,b/c"
    secret_access_key = "x#,%(y"
[core]
    checksum_jobs = 3
"""


def test_bare_dvc_commands_keep_their_notes_there_too(repository):
    """From any folder of the project; the person's own settings beside it stay, and readable for whom they were."""
    Path(".dvc/config.local").write_text(SETTINGS)
    Path(".dvc/config.local").chmod(0o640)
    keep_state_private()
    keep_state_private()
    assert Path(".dvc/config.local").stat().st_mode & 0o777 == 0o640
    Path("below").mkdir()
    for folder in (repository, repository / "below"):
        with Repo(str(folder)) as repo:
            assert Path(repo.site_cache_dir).parent == repository / SITE / "repo"
            assert repo.config["core"]["checksum_jobs"] == 3
            store = repo.config["remote"]["store"]
            assert (store["url"], store["secret_access_key"]) == ("s3://a,b/c", "x#,%(y")
    assert not list(Path("below").iterdir())


def test_a_project_that_was_moved_takes_its_notes_along(repository, tmp_path_factory, monkeypatch):
    """The first command there writes the new path."""
    keep_state_private()
    moved = repository.rename(tmp_path_factory.mktemp("other") / "project")
    monkeypatch.chdir(moved)
    with open_repo() as repo:
        assert Path(repo.site_cache_dir).is_relative_to(moved)


def test_a_place_that_was_chosen_stays(repository):
    """In any of DVC's settings, or by its variable."""
    Path(".dvc/config").write_text("[core]\n    site_cache_dir = /somewhere/notes\n")
    keep_state_private()
    assert not Path(".dvc/config.local").exists()
    assert not SITE.exists()


def test_a_folder_that_a_group_shares_stays_shared(repository):
    """Only the notes are this user's alone; each user of the clone has a folder for them."""
    Path(".dvc/tmp").chmod(0o2775)
    keep_state_private()
    assert Path(".dvc/tmp").stat().st_mode & 0o7777 == 0o2775
    assert SITE.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("there", [True, False])
def test_settings_that_are_kept_elsewhere_stay_a_link(repository, tmp_path_factory, monkeypatch, capsys, there):
    """With their login, which is copied to no other place; labelfactory's own commands keep their notes in the project."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)  # what is set meanwhile goes with the test
    kept = tmp_path_factory.mktemp("elsewhere") / "dvc.conf"
    if there:
        kept.write_text(SETTINGS)
    Path(".dvc/config.local").symlink_to(kept)
    for said in (1, 0):  # it is said once
        with open_repo() as repo:
            assert Path(repo.site_cache_dir).parent == repository / SITE / "repo"
        assert capsys.readouterr().err.count("is a link and stays so") == said
    assert Path(".dvc/config.local").readlink() == kept
    assert kept.exists() == there
    assert not there or kept.read_text() == SETTINGS
    assert not [
        path
        for path in Path().rglob("*")
        if path.is_file() and b"secret_access_key" in path.read_bytes() and not path.is_symlink()
    ]


@pytest.mark.parametrize("content", ["[core\n", "a = 1\n[[x]]\n", "\udcff"], ids=ascii)
def test_settings_that_cannot_be_read_are_left_to_dvc(repository, content):
    """Which says what is wrong with them."""
    Path(".dvc/config.local").write_bytes(content.encode("utf-8", "surrogateescape"))
    keep_state_private()
    assert Path(".dvc/config.local").read_bytes() == content.encode("utf-8", "surrogateescape")


def test_a_link_in_the_place_of_the_folder_is_refused(repository):
    """It could lead to a folder of another user."""
    Path("elsewhere").mkdir()
    Path(".dvc/tmp").mkdir(exist_ok=True)
    SITE.symlink_to(repository / "elsewhere")
    with pytest.raises(UserError, match="is a link, not a folder"), open_repo():
        pass


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_cannot_plant_a_database(repository):
    """What was found: a folder renamed away and one's own in its place, whose values DVC unpickles."""
    with open_repo() as repo:
        place = Path(repo.site_cache_dir)
    for folder in [repository, *repository.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    attack = f"import os; os.setgid(65534); os.setuid(65534); os.rename({str(place)!r}, {str(place)!r} + '.moved')"
    done = subprocess.run([sys.executable, "-c", attack], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
    assert place.is_dir()
