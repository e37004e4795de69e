"""Jobs on a Ray cluster of two nodes on this machine; one of them dies in the middle of a job."""

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


def wait(condition, executor, folder, seconds: float = 800.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, (
            folder.log.read_text()[-2000:] if folder.log.exists() else "",
            executor._ends,
        )
        time.sleep(0.1)
