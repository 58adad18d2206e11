"""Kills and full disks at every call of the file functions of commands that write (file_faults.py)."""

import pytest
from forking import campaign, script
from small_case import COMMANDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
QUICK = ("profile", "add again", "import two", "export")
EVERY = {"pull": 13, "withdraw": 8}
"""How many calls apart the sampled ones are, where it is not every fifth: DVC copies some thirty files with the same calls."""
PLACES = {
    "withdraw": ("account.json", "withdrawals/", "index-", "bucket/labelfactory/dvc.lock"),
    "pull": ("data/import/", "/a4/", "data/walks"),
}
"""Words of calls where a fault was found, or that the samples may miss: a withdrawal that is begun and has deleted nothing yet, its
report, the ledger's index; what a pull replaces, a list of an output's files and an object in DVC's cache, an output."""
FOUND_NOTHING = "each time as before or as after, and at the end as if nothing had happened"


def test_a_command_that_is_killed_or_finds_the_disk_full_can_be_typed_again(tmp_path):
    """One command of each kind, at every sixth call."""
    assert FOUND_NOTHING in campaign(tmp_path, "file_faults.py", "--every", "6", "--of", *QUICK)


@pytest.mark.endurance
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in QUICK])
def test_every_command_can_be_typed_again(tmp_path, name):
    """All that write, one after the other, at some of the calls; `python tests/support/file_faults.py` takes every one."""
    said = campaign(tmp_path, "file_faults.py", "--every", str(EVERY.get(name, 5)), "--of", name)
    assert FOUND_NOTHING in said


@pytest.mark.endurance
@pytest.mark.parametrize("name", PLACES)
def test_where_faults_were_found(tmp_path, name):
    """Each call at some places, also where the samples are further apart."""
    assert FOUND_NOTHING in campaign(tmp_path, "file_faults.py", "--of", name, "--at", *PLACES[name])


IN_PLACE = """
import contextlib, pathlib, sys
import file_faults, forked_commands
from app import _params_file
forked_commands.load()
@contextlib.contextmanager
def in_place(path):
    path.unlink()
    yield path
_params_file.write_whole = in_place
sys.exit("\\n".join(file_faults.campaign(pathlib.Path(sys.argv[1]), ["profile"])))
"""


@pytest.mark.endurance
def test_a_command_that_writes_in_place_is_found(tmp_path):
    """Killed in the middle it has lost the old file; on a full disk too."""
    said = script(tmp_path, IN_PLACE, code=1)
    assert "profile: killed (after) unlink" in said
    assert "profile: full (full) open" in said
