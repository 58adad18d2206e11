"""What `up` left in .labelfactory is believed only if nobody else could have written it, and only as far as it is whole."""

import json
import os
import socket
import stat
from pathlib import Path

import psutil
import pytest

from flows.server import api as module
from flows.server.api import Api, ServerDownError, find_api, find_page
from flows.server.login import LOGIN_FILE, SERVER_VARIABLE, entrance, known_login, login_of_new_server
from flows.server.private_files import FOLDER, OWNER_ONLY, own_folder, read_private, write_private
from flows.server.services import down, up
from flows.server.started import STATE_FILE, Service, Services, read_services, write_services
from labelfactory.errors import UserError
from labelfactory.lock import file_lock

STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty project; no server and no login in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in (module.URL_VARIABLE, module.AUTH_VARIABLE, module.KEY_VARIABLE, SERVER_VARIABLE, "PREFECT_UI_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def this_process(name: str = "server") -> Service:
    """A service that runs: this test."""
    return Service(name, os.getpid(), psutil.Process().create_time(), "log")


def refused(action) -> UserError:
    with pytest.raises(UserError) as caught:
        action()
    assert caught.value.remedy
    return caught.value


def test_what_is_written_comes_back_and_is_its_owners_alone(here, monkeypatch):
    """However generous the user is with other files."""
    before = os.umask(0)
    try:
        services = Services("http://127.0.0.1:4200/api", (this_process(), Service("worker cpu", 1, 5.0, "l", "w")))
        write_services(services.api, services.services)
        login = login_of_new_server(keep=False)
    finally:
        os.umask(before)
    assert read_services() == services
    assert known_login() == login
    for path in (STATE_FILE, LOGIN_FILE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(FOLDER.stat().st_mode) == 0o755


def test_a_folder_that_others_could_write_is_closed(here):
    """It is this user's, so its permissions are for this user to set."""
    FOLDER.mkdir()
    FOLDER.chmod(0o777)
    (FOLDER / "prefect").mkdir()
    own_folder()
    own_folder(FOLDER / "prefect", allowed=OWNER_ONLY)
    assert stat.S_IMODE(FOLDER.stat().st_mode) == 0o755
    assert stat.S_IMODE((FOLDER / "prefect").stat().st_mode) == 0o700


def test_a_link_in_place_of_the_folder_is_refused(here):
    """It would lead `up` to write elsewhere, and `down` to end another project's processes."""
    other = here / "other"
    other.mkdir()
    (other / "services.json").write_text(json.dumps({"api": "http://127.0.0.1:1/api", "services": []}))
    FOLDER.symlink_to(other)
    for action in (own_folder, read_services, down, lambda: write_private(FOLDER / "x", "x")):
        assert "is a link" in refused(action).problem
    FOLDER.unlink()
    FOLDER.symlink_to(here / "nowhere")
    assert "is a link" in refused(own_folder).problem


def test_a_link_in_place_of_a_file_is_refused(here):
    """And so is what is no file."""
    own_folder()
    (here / "state").write_text(json.dumps({"api": "http://127.0.0.1:1/api", "services": []}))
    STATE_FILE.symlink_to(here / "state")
    assert "is a link" in refused(read_services).problem
    STATE_FILE.unlink()
    os.mkfifo(STATE_FILE)
    assert "is not a file" in refused(read_services).problem
    STATE_FILE.unlink()
    STATE_FILE.mkdir()
    assert "is not a file" in refused(read_services).problem


def test_a_folder_that_is_a_file_is_refused(here):
    FOLDER.write_text("")
    assert "cannot be opened" in refused(own_folder).problem


@as_root
def test_what_another_user_made_is_refused(here):
    """The folder, or a file in it."""
    FOLDER.mkdir()
    os.chown(FOLDER, STRANGER, STRANGER)
    assert f"belongs to another user ({STRANGER})" in refused(own_folder).problem
    STATE_FILE.write_text(json.dumps({"api": "http://127.0.0.1:1/api", "services": []}))
    assert "belongs to another user" in refused(down).problem
    os.chown(FOLDER, 0, 0)
    os.chown(STATE_FILE, STRANGER, STRANGER)
    assert "belongs to another user" in refused(down).problem


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_another_user_could_have_written_is_refused(here, mode):
    """Though it is this user's."""
    write_services("http://127.0.0.1:1/api", [])
    STATE_FILE.chmod(mode)
    assert "other users may write it" in refused(read_services).problem
    login_of_new_server(keep=False)
    LOGIN_FILE.chmod(mode)
    assert "other users may write it" in refused(known_login).problem


SERVICE = {"name": "server", "pid": 7, "started": 5.0, "log": "l", "worker": ""}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "[" * 100_000,
        '{"api": "http://127.0.0.1:1/api"}',
        json.dumps({"services": []}),
        json.dumps({"api": 7, "services": []}),
        json.dumps({"api": "file:///etc/passwd", "services": []}),
        json.dumps({"api": "http://a\r\nb: c", "services": []}),
        json.dumps({"api": "http://127.0.0.1:1/api", "services": {}}),
        json.dumps({"api": "http://127.0.0.1:1/api", "services": ["server"]}),
        *(
            json.dumps({"api": "http://127.0.0.1:1/api", "services": [SERVICE | change]})
            for change in (
                {"pid": 0},
                {"pid": -1},
                {"pid": 10**30},
                {"pid": "7"},
                {"pid": None},
                {"pid": 7.5},
                {"pid": True},
                {"started": "now"},
                {"started": float("nan")},
                {"name": None},
                {"log": 5},
            )
        ),
        " " * (1 << 21),
        b"\xff\xfe".decode("latin-1"),
    ],
    ids=lambda content: repr(content[-60:]),
)
def test_a_damaged_state_file_is_two_lines(here, content):
    """For each command that reads it; nothing is ended."""
    own_folder()
    STATE_FILE.write_text(content, encoding="latin-1")
    STATE_FILE.chmod(0o600)
    for action in (read_services, down, find_api, find_page):
        error = refused(action)
        assert str(STATE_FILE) in error.problem
        assert "\n" not in error.problem


def test_a_damaged_login_is_two_lines(here):
    own_folder()
    for content in (b"", b"no colon", b"a:\xff\xfe", b"a:b\nc:d"):
        LOGIN_FILE.write_bytes(content)
        LOGIN_FILE.chmod(0o600)
        assert "not a login" in refused(known_login).problem


def test_a_new_server_has_a_new_login_unless_the_user_names_one(here, monkeypatch):
    """Which is written nowhere; processes that run on keep theirs."""
    first = login_of_new_server(keep=False)
    assert len(first) > 40
    assert login_of_new_server(keep=True) == first
    assert login_of_new_server(keep=False) != first
    monkeypatch.setenv(SERVER_VARIABLE, "me:mine")
    kept = known_login()
    assert login_of_new_server(keep=True) == kept != "me:mine"
    assert login_of_new_server(keep=False) == known_login() == "me:mine"
    assert not LOGIN_FILE.exists()
    assert entrance("http://127.0.0.1:4200") == "http://127.0.0.1:4200"
    monkeypatch.delenv(SERVER_VARIABLE)
    assert "another login" in refused(lambda: login_of_new_server(keep=True)).problem


def test_the_login_goes_to_the_own_server_and_nowhere_else(here, monkeypatch):
    """Also where the environment names that server; an address that it names without a login gets none."""
    login = login_of_new_server(keep=False)
    write_services("http://127.0.0.1:4200/api", [this_process()])
    assert login_for("") == ("http://127.0.0.1:4200/api", login)
    assert login_for("http://127.0.0.1:4200/api/") == ("http://127.0.0.1:4200/api", login)
    assert login_for("http://elsewhere.example/api") == ("http://elsewhere.example/api", "")
    monkeypatch.setenv(module.AUTH_VARIABLE, "me:mine")
    assert login_for("http://127.0.0.1:4200/api") == (
        "http://127.0.0.1:4200/api",
        "",
    )  # the environment's, when it asks


def test_another_machines_server_gets_the_login_of_the_environment_alone(here, monkeypatch):
    """Not that of a server which is to be started here."""
    monkeypatch.setenv(SERVER_VARIABLE, "me:for-here")
    write_services("http://elsewhere.example/api", [this_process("worker cpu")])
    assert login_for("") == ("http://elsewhere.example/api", "")


def login_for(url: str) -> tuple[str, str]:
    """Address and login of the server that commands would ask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(module.URL_VARIABLE, url)
        api = module.known_api()
        return api.url, api.login


def test_who_listens_in_place_of_a_server_that_has_ended_gets_nothing(here):
    """Not even a request: it could be another user's program, which would get the login."""
    login_of_new_server(keep=False)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        squatter.settimeout(0.2)
        address = f"http://127.0.0.1:{squatter.getsockname()[1]}/api"
        write_services(address, [Service("server", 1, 5.0, "log"), this_process("worker cpu")])
        with pytest.raises(ServerDownError, match="has ended"):
            find_api()
        with pytest.raises(TimeoutError):
            squatter.accept()


def test_a_second_command_does_not_forget_what_the_first_starts(here):
    """Here the first is a `down` that has not read the file yet."""
    write_services("http://127.0.0.1:1/api", [])
    login = login_of_new_server(keep=False)
    with file_lock(FOLDER / "up.lock"):
        assert "another `labelfactory up` or `down`" in refused(down).problem
        assert "another `labelfactory up` or `down`" in refused(lambda: up(host="127.0.0.1", port=1, pools=[])).problem
    assert known_login() == login
    assert down() == []
    assert read_services() is None
    assert known_login() == ""


def test_no_file_is_no_server(here):
    assert read_services() is None
    assert read_private(STATE_FILE) is None
    assert down() == []
    assert find_page() == ""
    assert Api("http://127.0.0.1:1/api/").page == "http://127.0.0.1:1"
