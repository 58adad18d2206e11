"""Which cluster a run is spread over, and which GPUs it may use."""

import subprocess
import sys

import pytest
import torch

from flows.run.clusters import GPU, gpu_workers, own_gpus, ray_settings, task_runner
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
    """Its scheduler runs what it is sent, and each user of the machine can reach it: only who has its certificate is let in."""
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    distributed = pytest.importorskip("distributed")
    runner = task_runner("dask", gpus=gpus)
    with (runner.cluster_class or distributed.LocalCluster)(**runner.cluster_kwargs) as cluster:
        with distributed.Client(cluster) as client:
            assert client.submit(sum, [3, 4], resources={GPU: 1} if gpus else None).result(300) == 7
        words = [sys.executable, "-c", STRANGER, cluster.scheduler_address]
        said = subprocess.run(words, capture_output=True, text=True, timeout=300).stdout.splitlines()
        assert len(said) == 2
        assert all(line.startswith("refused") for line in said), said


def test_a_ray_of_this_machine_is_closed_to_others_and_as_large_as_a_run(monkeypatch):
    """Loopback, no page, as many processes as $LABELFACTORY_WORKERS says."""
    monkeypatch.setenv("LABELFACTORY_WORKERS", "3")
    settings = ray_settings(["0", "1"])
    assert (settings["num_cpus"], settings["num_gpus"]) == (3, 2)
    assert (settings["_node_ip_address"], settings["include_dashboard"]) == ("127.0.0.1", False)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_runner_that_is_not_installed_is_an_error_of_two_parts(monkeypatch, kind):
    """What is missing and what to type."""
    monkeypatch.setitem(sys.modules, f"prefect_{kind}.task_runners", None)
    with pytest.raises(UserError, match=f"--runner {kind}: it cannot be loaded") as caught:
        task_runner(kind, gpus=())
    assert f"'.[{kind}]'" in caught.value.remedy
