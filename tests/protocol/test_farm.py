"""Jobs on a Ray cluster of two nodes on this machine; one of them dies in the middle of a job."""

import os
import subprocess
import sys
import time

import pytest
from tiny_job import ENDLESS, tiny_job

from backend.jobs.job_folder import Folder
from backend.store.content_store import Store
from restage4d.puppet import Puppet

ray = pytest.importorskip("ray", reason="the extra 'farm' is not installed")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_job_outlives_its_node(tmp_path):
    from ray.cluster_utils import Cluster

    from backend.jobs.ray_executor import RayExecutor

    store = Store(tmp_path / "store")
    memory = 100 << 20
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": memory, "include_dashboard": False},
    )
    node = cluster.add_node(num_cpus=1, object_store_memory=memory)
    executor = RayExecutor(store, cluster.address, 1)
    try:
        assert [d.kind for d in executor.list_devices()].count("cpu") == 2
        folder = Folder(tmp_path / "job")
        folder.prepare(tiny_job(lambda path: store.add(path)[0], 900, key="a" * 32))
        executor.start("a" * 32, folder, "ray:0")
        wait(lambda: (folder.work / "checkpoint.safetensors").exists(), executor, folder)
        step = len(folder.read_event("progress")[1])
        assert step
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1, object_store_memory=memory)
        wait(lambda: not executor.is_alive("a" * 32, folder), executor, folder)
        result = folder.read_result()
        assert result, executor.explain_end("a" * 32)
        assert result.outcome == "done", result
        puppet = result.artefacts["puppet"]
        assert store.check(puppet.content) == puppet.size
        Puppet.load(store.path(puppet.content))

        folder = Folder(tmp_path / "cancelled")
        folder.prepare(tiny_job(lambda path: store.add(path)[0], ENDLESS, key="b" * 32))
        executor.start("b" * 32, folder, "ray:0")
        wait(lambda: folder.read_event("progress"), executor, folder)
        folder.write_command("cancel")
        wait(lambda: not executor.is_alive("b" * 32, folder), executor, folder)
        assert folder.read_result().outcome == "cancelled"
    finally:
        executor.close()
        cluster.shutdown()


_HEAD = """
import ray
ray.init(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
print("at", ray.get_runtime_context().gcs_address, flush=True)
input()
"""
_JOIN = """
import sys
from pathlib import Path
from backend.network.ray_token import use_ray_token
from restage4d.errors import InputError
use_ray_token()
from backend.jobs.ray_executor import RayExecutor
from backend.store.content_store import Store
try:
    executor = RayExecutor(Store(Path(sys.argv[1])), sys.argv[2], 1)
except InputError as error:
    print("refused:", error.what)
else:
    print("in:", executor.list_slots())
    executor.close()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("asks", [True, False])
def test_a_cluster_has_to_ask_for_a_token(tmp_path, asks):
    """Heads of Ray itself, with and without a token, and a service that has one."""
    usual = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7" * 64}
    mine = usual | (token if asks else {"RAY_AUTH_MODE": "disabled"})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    head = subprocess.Popen([sys.executable, "-c", _HEAD], env=mine, **pipes)
    try:
        address = ""
        for line in head.stdout:
            if line.startswith("at "):
                address = line.split()[1]
                break
        assert address
        command = [sys.executable, "-c", _JOIN, str(tmp_path / "store"), address]

        def join(environment):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=300, check=True
            )
            return done.stdout.strip().splitlines()[-1]

        said = join(usual | token)
        if asks:
            assert said == "in: ['ray:0']"
            assert "another token" in join(usual | token | {"RAY_AUTH_TOKEN": "8" * 64})
        else:
            assert said == f"refused: The Ray cluster at {address} asks for no token."
            assert join(usual | {"RAY_AUTH_MODE": "disabled"}) == "in: ['ray:0']"
    finally:
        head.communicate("\n", timeout=60)


def wait(condition, executor, folder, seconds: float = 800.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, (
            folder.log.read_text()[-2000:] if folder.log.exists() else "",
            executor._ends,
        )
        time.sleep(0.1)
