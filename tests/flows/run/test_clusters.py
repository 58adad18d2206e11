"""Which cluster a run is spread over, and which GPUs it may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flows.run.clusters import GPU, gpu_workers, own_gpus, ray_settings, scratch_folder, task_runner
from labelfactory.errors import UserError


@pytest.fixture
def three_gpus(monkeypatch) -> None:
    """As far as torch can tell."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("LABELFACTORY_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize(
    ("visible", "device", "expected"),
    [
        ("", "auto", ["0", "1", "2"]),
        ("4, 6,7", "cuda", ["4", "6", "7"]),
        ("4,6,7", "cuda:1", ["6"]),
        ("", "cuda:2", ["2"]),
        ("4,6,7", "cpu", []),
    ],
)
@pytest.mark.usefixtures("three_gpus")
def test_the_gpus_of_this_machine_have_the_names_that_cuda_gives_them(monkeypatch, visible, device, expected):
    """A process that may see some of them alone hands out those; one that is told to use one hands out that one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("LABELFACTORY_DEVICE", device)
    assert own_gpus() == expected


def test_a_process_of_dask_sees_one_gpu_and_has_one_to_give():
    """The scheduler gives it one task at a time that asks for a GPU."""
    made = gpu_workers(["4", "6"], {"protocol": "tls://"})
    assert [w["options"]["env"]["CUDA_VISIBLE_DEVICES"] for w in made.values()] == ["4", "6"]
    assert {(w["options"]["nthreads"], w["options"]["resources"]["GPU"]) for w in made.values()} == {(1, 1)}
    assert {w["options"]["protocol"] for w in made.values()} == {"tls://"}


STRANGER = """
import sys
from distributed import Client
for address in (sys.argv[1], sys.argv[1].replace("tls:", "tcp:")):
    try:
        client = Client(address, timeout=15)
    except Exception as error:
        print("refused:", type(error).__name__)
    else:
        print("let in:", client.submit(sum, [3, 4]).result())
        client.close()
"""


@pytest.mark.slow
@pytest.mark.starts_cluster
@pytest.mark.parametrize("gpus", [(), ("4",)], ids=["cores", "a GPU"])
def test_a_dask_of_this_machine_works_for_its_run_alone(gpus, monkeypatch):
    """Its scheduler runs what it is sent, and each user of the machine can reach it: only who has its certificate is let in.

    Its processes load code from the folder of their temporary files too, which is below one that nobody else can enter.
    """
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    distributed = pytest.importorskip("distributed")
    with scratch_folder("dask") as scratch:
        assert scratch.parent.stat().st_mode & 0o777 == 0o700
        runner = task_runner("dask", gpus=gpus, scratch=scratch)
        with (runner.cluster_class or distributed.LocalCluster)(**runner.cluster_kwargs) as cluster:
            with distributed.Client(cluster) as client:
                assert client.submit(sum, [3, 4], resources={GPU: 1} if gpus else None).result(300) == 7
                (loaded_from,) = client.run(lambda: __import__("sys").path).values()
                (place,) = client.run(lambda dask_worker: dask_worker.local_directory).values()
            assert Path(place).is_relative_to(scratch)
            of_dask = [Path(path) for path in loaded_from if "dask-scratch-space" in path]
            assert of_dask
            assert all(path.is_relative_to(scratch) for path in of_dask), of_dask
            words = [sys.executable, "-c", STRANGER, cluster.scheduler_address]
            said = subprocess.run(words, capture_output=True, text=True, timeout=300).stdout.splitlines()
            assert len(said) == 2
            assert all(line.startswith("refused") for line in said), said
    assert not scratch.parent.exists()
    assert not [path for path in sys.path if path.startswith(str(scratch.parent))]


def test_a_ray_of_this_machine_is_closed_to_others_and_as_large_as_a_run(monkeypatch, tmp_path):
    """No page, as many processes as $LABELFACTORY_WORKERS says; not the cluster that another user's file names."""
    monkeypatch.setenv("LABELFACTORY_WORKERS", "3")
    settings = ray_settings(["0", "1"], tmp_path)
    assert (settings["num_cpus"], settings["num_gpus"]) == (3, 2)
    assert (settings["address"], settings["_temp_dir"], settings["include_dashboard"]) == (
        "local",
        str(tmp_path),
        False,
    )


def test_the_place_that_was_named_for_rays_files_is_made(monkeypatch, tmp_path):
    """As Ray itself would; others cannot enter what is in it."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "scratch"))
    with scratch_folder("ray") as scratch:
        assert scratch.parent.parent == tmp_path / "scratch"
        assert scratch.parent.stat().st_mode & 0o777 == 0o700
    assert not list((tmp_path / "scratch").iterdir())


RAY = """
import os, subprocess, sys
from pathlib import Path
from flows.run.clusters import scratch_folder, task_runner

STRANGER = "import os, ray; ray.init(os.environ['RAY_GCS']); print('let in')"
with scratch_folder("ray") as scratch:
    with task_runner("ray", gpus=(), scratch=scratch):
        import ray
        ray.get(ray.remote(lambda: 1).remote())
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        print("below:", session.is_relative_to(scratch), oct(scratch.parent.stat().st_mode & 0o777))
        for token in (os.environ["RAY_AUTH_TOKEN"], "0" * 64):
            other = {**os.environ, "RAY_AUTH_TOKEN": token, "RAY_GCS": ray.get_runtime_context().gcs_address}
            run = subprocess.run([sys.executable, "-c", STRANGER], env=other, capture_output=True, text=True)
            print("another program:", run.stdout.strip() or "refused")
print("left:", scratch.parent.exists(), Path.home().joinpath(".ray").exists())
"""


@pytest.mark.slow
@pytest.mark.starts_cluster
def test_a_ray_of_this_machine_leaves_nothing_where_others_are(tmp_path):
    """Neither a token in the home folder, nor logs and sockets in a folder of all users, which it opens to everybody.

    Who has not its token, which is new, is not let in.
    """
    pytest.importorskip("ray")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_ADDRESS": "127.0.0.1:1", "LABELFACTORY_WORKERS": "1"}
    run = subprocess.run([sys.executable, "-c", RAY], capture_output=True, text=True, timeout=300, env=environment)
    said = [line for line in run.stdout.splitlines() if line.startswith(("below", "another", "left"))]
    assert said == ["below: True 0o700", "another program: let in", "another program: refused", "left: False False"], (
        run.stderr[-2000:]
    )


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_runner_that_is_not_installed_is_an_error_of_two_parts(monkeypatch, tmp_path, kind):
    """What is missing and what to type."""
    monkeypatch.setitem(sys.modules, f"prefect_{kind}.task_runners", None)
    with pytest.raises(UserError, match=f"--runner {kind}: it cannot be loaded") as caught:
        task_runner(kind, gpus=(), scratch=tmp_path)
    assert f"'.[{kind}]'" in caught.value.remedy
