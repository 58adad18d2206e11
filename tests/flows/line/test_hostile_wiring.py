"""The files that DVC reads are read by us first: DVC knows no limit of depth or of aliases."""

from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.line.dvc_line import line_status
from labelfactory.errors import ParamsError

PLAIN = {"dvc.yaml": "stages: {a: {cmd: echo}}\n", "params.yaml": "a: 1\n", "dvc.lock": "schema: '2.0'\nstages: {}\n"}
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10)
)


@pytest.mark.parametrize("text", [f"a: {'[' * 20_000}", f"a: {'[' * 20_000}{']' * 20_000}", BOMB])
@pytest.mark.parametrize("name", PLAIN)
def test_a_hostile_file_never_reaches_dvc(tmp_path, monkeypatch, name, text):
    """Each of the three, by `status` and all that asks DVC; without it DVC answers."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    for file, content in PLAIN.items():
        Path(file).write_text(content)
    assert [state.name for state in line_status()] == ["a"]
    Path(name).write_text(text)
    with pytest.raises(ParamsError, match=name.replace(".", r"\.")) as caught:
        line_status()
    assert len(str(caught.value).splitlines()) == 2
