"""The list of remotes that something was sent to: what it knows outlives moves, deletions, other environments and failed pushes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo
from made_line import MadeLine
from pushed_line import dvc_here, no_mlflow, run, withdraw

from app.storage import push
from flows.line.known_remotes import EARLIER, KNOWN, known_places, lost_places, note_place
from flows.line.remote_removal import remove_at_remotes
from flows.line.remote_store import Store
from labelfactory.errors import DataError, UserError

pytestmark = pytest.mark.slow
__all__ = ["no_mlflow"]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of DVC whose remote is a folder beside it, by its relative path."""
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    dvc_here(Path("../../store"))  # from .dvc
    return folder


@pytest.fixture
def made(tmp_path, monkeypatch) -> MadeLine:
    """A line that nobody has pushed, and the folder that it is to be pushed to."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    made = MadeLine()
    run(made)
    dvc_here(tmp_path / "store")
    return made


def note(name: str = "store") -> None:
    with Repo(".") as repo:
        note_place(repo, name)


def places() -> set[str]:
    with Repo(".") as repo:
        return set(known_places(repo).values())


def lost() -> list[str]:
    with Repo(".") as repo:
        return lost_places(repo)


@pytest.mark.parametrize("path", [KNOWN, EARLIER])
@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"places": 1}', '{"places": [nul', '{"places": {"a": "b"}}', "[" * 100_000]
)
def test_a_damaged_list_is_not_an_empty_one(project, path, content):
    """A withdrawal goes on, and is not complete: any remote may have something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    for read in (places, lost, note):
        with pytest.raises(DataError, match=r"remotes.json: damaged"):
            read()
    assert any("remotes.json: damaged" in line for line in remove_at_remotes([], ()).left)
    assert path.read_text() == content


def test_the_folder_of_one_machine_may_be_deleted(project):
    """Its clones share the list, as they share the ledger; what an earlier program noted in one of them is taken over."""
    EARLIER.parent.mkdir()
    EARLIER.write_text('{"places": ["s3://an-earlier/one"]}')
    assert places() == {"s3://an-earlier/one"}
    note()
    shutil.rmtree(EARLIER.parent)
    assert places() == {"s3://an-earlier/one", "../store"}
    assert lost() == ["s3://an-earlier/one"]
    noted = json.loads(KNOWN.read_text())
    assert (list(noted["places"].values()), noted["begun"]) == (["../store", "s3://an-earlier/one"], {})


@pytest.mark.parametrize("noted", ["now", "by an earlier program"])
def test_a_project_that_moves_with_its_remote(project, tmp_path, noted):
    """An address that is relative in DVC's settings is relative in the list."""
    if noted == "by an earlier program":
        EARLIER.parent.mkdir()
        EARLIER.write_text(json.dumps({"places": [str(tmp_path / "work/store")]}))
        assert places() == {"../store"}
    note()
    os.chdir(tmp_path)
    (tmp_path / "work").rename(tmp_path / "moved")
    os.chdir(tmp_path / "moved/project")
    assert lost() == []
    assert places() == {"../store"}


def test_the_environment_changes_no_address(project, monkeypatch):
    """A word of an address may be what a variable calls its secret; a login is none of the address."""
    config = Path(".dvc/config")
    config.write_text(f'{config.read_text()}[remote "bucket"]\n    url = s3://datasets/labels\n')
    config.write_text(f'{config.read_text()}[remote "server"]\n    url = ssh://me:hunter2@host/labels\n')
    note("bucket")
    note("server")
    monkeypatch.setenv("MY_TOKEN", "datasets")
    assert lost() == []
    note("bucket")
    assert places() == {"s3://***/labels", "ssh://***@host/labels"}
    KNOWN.write_text('{"places": ["s3://***/labels"]}')  # by an earlier program in this environment
    assert lost() == []


def test_a_first_push_that_sends_nothing_is_forgotten(made, monkeypatch):
    """So is a mistyped bucket; the next push needs no `--give-up`."""

    def fails(self: Store, data: bytes, address: str) -> None:
        assert json.loads(KNOWN.read_text())["begun"]
        raise OSError("no such bucket")

    with monkeypatch.context() as failing:
        failing.setattr(Store, "put", fails)
        with pytest.raises(UserError, match="no such bucket"):
            push()
    assert places() == set()
    push()
    assert json.loads(KNOWN.read_text())["begun"] == {}
    assert len(places()) == 1


@pytest.mark.parametrize("answers", [True, False])
def test_a_first_push_that_sends_something_is_not_forgotten(made, monkeypatch, tmp_path, answers):
    """Nor is one that was killed; while the remote is away then, a withdrawal is not complete."""
    put = Store.put

    def fails(self: Store, data: bytes, address: str) -> None:
        if "pictures" not in address:
            raise OSError("the line is dead")
        put(self, data, address)

    with monkeypatch.context() as failing:
        failing.setattr(Store, "put", fails)
        if not answers:
            failing.setattr("flows.line.known_remotes._may_hold", lambda store: store.has_written)
        with pytest.raises(UserError, match="the line is dead"):
            push()
    noted = json.loads(KNOWN.read_text())
    assert (noted["places"], list(noted["begun"].values())) == ({}, [str(tmp_path / "store")])
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    (report,) = withdraw("image-1", made)
    assert any(f"{tmp_path / 'store'}: sent to or taken from before" in line for line in report["left_over"])


SECRET = "Zx81SecretGateway77"


@pytest.mark.parametrize("noted", ["now", "by an earlier program", "now, and again where nobody knows the secret"])
def test_a_secret_of_the_environment_is_in_no_list_and_no_report(project, monkeypatch, noted):
    """Nor where the shell of a later withdrawal lacks the variable. The list is for nobody else."""
    address, settings = f"s3://gw-{SECRET}/labels", Path(".dvc/config")
    settings.write_text(f'{settings.read_text()}[remote "gateway"]\n    url = {address}\n')
    monkeypatch.setenv("GATEWAY_TOKEN", SECRET)
    if noted == "by an earlier program":
        KNOWN.parent.mkdir(parents=True)
        KNOWN.write_text(json.dumps({"places": [address], "begun": []}))
        KNOWN.chmod(0o644)
        assert places() == {"s3://gw-***/labels"}
    else:
        note("gateway")
    monkeypatch.delenv("GATEWAY_TOKEN")
    if noted.endswith("the secret"):
        note("gateway")
    assert SECRET not in KNOWN.read_text()
    assert KNOWN.stat().st_mode & 0o007 == 0
    assert lost() == []
    settings.write_text("[core]\n    no_scm = true\n")
    assert lost() == ["s3://gw-***/labels"]
    assert any("s3://gw-***/labels: sent to" in line for line in remove_at_remotes([], ()).left)


def test_a_group_that_shares_the_ledger_reads_the_list(project):
    """Its members push too."""
    KNOWN.parent.mkdir(parents=True)
    for mode, readable in ((0o2775, 0o660), (0o755, 0o600)):
        KNOWN.parent.chmod(mode)
        note()
        assert KNOWN.stat().st_mode & 0o777 == readable


@pytest.mark.parametrize("password", ['pa"ssw@rd', "pa ss", "pa<ss"])
def test_no_password_is_in_the_list(project, password):
    """Whatever characters it has."""
    with Repo(".") as repo:
        repo.config["remote"]["server"] = {"url": f"ssh://me:{password}@host/srv"}
        note_place(repo, "server")
        assert password[:4] not in KNOWN.read_text()
        repo.config["remote"]["server"] = {"url": "ssh://me:another@host/srv"}
        assert lost_places(repo) == []


AZURE, SSH = "azure://container/labels", "ssh://host/srv"
STORES = {
    "account": [{"url": AZURE, "account_name": "ours"}, {"url": AZURE, "account_name": "theirs"}],
    "connection": [
        {"url": AZURE, "connection_string": f"AccountName={name};AccountKey=a2V5;EndpointSuffix=core.windows.net"}
        for name in ("ours", "theirs")
    ],
    "port": [{"url": SSH}, {"url": SSH, "port": 2222}],
    "server": [{"url": "s3://b/l"}, {"url": "s3://b/l", "endpointurl": "https://minio.localhost"}],
}
"""Two stores of the same URL."""


@pytest.mark.parametrize("kind", STORES)
def test_the_same_address_at_another_store(project, kind):
    """It is another place: what was sent to the one is not looked for in the other, nor deleted there by its id."""
    ours, theirs = STORES[kind]
    with Repo(".") as repo:
        repo.config["remote"]["one"] = ours
        note_place(repo, "one")
        assert lost_places(repo) == []
        repo.config["remote"]["one"] = theirs
        assert len(lost_places(repo)) == 1
        assert "hunter2" not in KNOWN.read_text()
        assert "a2V5" not in KNOWN.read_text()
        repo.config["remote"] = {"renamed": ours}
        assert lost_places(repo) == []


def test_what_an_earlier_program_noted_may_be_any_store_of_the_address(project):
    """Something may have been sent to each; none is known to be this project's."""
    KNOWN.parent.mkdir(parents=True)
    KNOWN.write_text(json.dumps({"places": [SSH]}))
    with Repo(".") as repo:
        repo.config["remote"] |= {"one": {"url": SSH}, "two": {"url": SSH, "port": 2222}}
        assert set(known_places(repo).values()) == {SSH, f"{SSH} port=2222"}
        assert not json.loads(KNOWN.read_text())["places"]


def test_a_new_key_is_no_other_store(project):
    """Keys are changed from time to time."""
    with Repo(".") as repo:
        for key in ("a2V5", "b3RoZXI="):
            repo.config["remote"]["one"] = {"url": AZURE, "connection_string": f"AccountName=ours;AccountKey={key}"}
            note_place(repo, "one")
    assert places() == {f"{AZURE} accountname=ours"}


@pytest.mark.parametrize(
    "settings",
    [
        [{"url": SSH, "user": "ann"}, {"url": SSH, "user": "ben"}],
        [{"url": f"ssh://{name}:hunter2@host/srv"} for name in ("ann", "ben")],
        [{"url": SSH}, {"url": SSH, "port": 22}],
        [
            {"url": AZURE, "account_name": "ours"},
            {"url": AZURE, "connection_string": "EndpointSuffix=core.windows.net;AccountName=ours;AccountKey=a2V5"},
        ],
    ],
)
def test_people_with_settings_of_their_own_share_a_place(project, settings):
    """At one server each has a login; what one sent is not lost to the other."""
    one, another = settings
    with Repo(".") as repo:
        repo.config["remote"]["one"] = one
        note_place(repo, "one")
        repo.config["remote"]["one"] = another
        assert lost_places(repo) == []
