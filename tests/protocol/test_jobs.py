"""The life of a job as a client sees it; with tiny real fits."""

import io
import time

import numpy as np
import pytest
import zmq
from PIL import Image
from tiny_job import ENDLESS, tiny_job

from restage4d.protocol.channel import secure
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    JobProgress,
    Preview,
    PreviewPoints,
    StateChanged,
    Submit,
)
from restage4d.puppet import Puppet
from restage4d.splatting import rasterize


def until(condition, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_a_watcher_sees_everything(done_job):
    _, status, events = done_job
    states = [e.status.state for e, _ in events if isinstance(e, StateChanged)]
    assert states == sorted(states, key=["queued", "running", "done"].index)
    assert states[-1] == "done"
    told = [e for e, _ in events if isinstance(e, JobProgress)]
    assert {"motion initialisation", "photometric fusion"} & {e.stage for e in told}
    percents = [e.percent for e in told]
    assert percents == sorted(percents)
    assert 0 <= percents[0] <= percents[-1] < 100
    assert any("loss" in e.losses for e in told)
    assert status.percent == 100
    assert status.error is None
    assert status.attempts == 1
    assert status.has_puppet
    assert status.has_preview


def test_the_preview_is_a_picture_and_the_points_are_a_puppet(done_job):
    _, _, events = done_job
    pictures = [a["png"] for e, a in events if isinstance(e, Preview)]
    assert pictures
    picture = np.asarray(Image.open(io.BytesIO(pictures[-1].tobytes())))
    assert picture.ndim == 3
    assert picture.std() > 5
    arrays = next(a for e, a in events if isinstance(e, PreviewPoints))
    n, k, t = len(arrays["means"]), len(arrays["bases"]), arrays["bases"].shape[1]
    assert arrays["means"].shape == (n, 3)
    assert arrays["colors"].shape == (n, 3)
    assert arrays["colors"].dtype == np.uint8
    assert arrays["bases"].shape == (k, t, 9)
    assert arrays["influence_index"].shape == arrays["influence_weight"].shape
    assert arrays["influence_index"].max() < k
    assert np.allclose(arrays["influence_weight"].sum(1), 1, atol=1e-4)
    assert len(arrays["source"]) == len(arrays["index"]) == t


def test_puppet_gaussians_and_renders_agree(client, done_job, tmp_path):
    import torch

    job, status, _ = done_job
    puppet = Puppet.load(client.fetch_puppet(job, tmp_path / "a.puppet"))
    performance = puppet.performances[1]
    frames = list(client.fetch_gaussians(job, performance.name, 1))
    assert len(frames) == performance.n_frames - 1
    mine = puppet.pose(performance, 1)
    assert np.allclose(frames[0].means, mine.means, atol=1e-6)
    assert np.allclose(frames[0].quats, mine.quats, atol=1e-6)
    with pytest.raises(WireError):
        list(client.fetch_gaussians(job, "somersault"))
    with pytest.raises(WireError):
        list(client.fetch_gaussians(job, performance.name, 99))
    w2c, K, size = performance.w2c[1], performance.K[1], performance.size
    rgba, depth = client.render(job, performance.bases[:, 1], w2c, K, size, background=False)
    assert rgba.shape == (size[1], size[0], 4)
    rgb = torch.from_numpy(np.maximum(0.5 + 0.28209479177387814 * mine.sh[:, 0], 0))
    arrays = [torch.from_numpy(a) for a in (mine.means, mine.quats, mine.scales, mine.opacities)]
    image, alpha, _ = rasterize(*arrays, rgb, torch.from_numpy(w2c), torch.from_numpy(K), *size)
    assert np.allclose(rgba[..., 3], alpha.numpy(), atol=1e-5)
    assert np.allclose(rgba[..., :3], image.numpy().clip(0, 1), atol=1e-5)
    inside = rgba[..., 3] > 0.9
    assert inside.any()
    assert (depth[inside] > 1).all()
    whole, _ = client.render(
        status.artefacts["puppet"].content, performance.bases[:, 1], w2c, K, size
    )
    assert whole[..., 3].mean() > rgba[..., 3].mean()
    assert client.fetch_preview(job).startswith(b"\x89PNG")


def test_cancel_pause_resume_delete(client, address):
    job = client.submit(tiny_job(client.upload, ENDLESS))
    until(lambda: client.status(job).stage == "photometric fusion")
    status = client.pause(job)
    assert status.stopping or status.state == "paused"
    until(lambda: client.status(job).state == "paused")
    step = client.status(job).step
    assert client.resume(job).state == "queued"
    resumed = until(lambda: (s := client.status(job)).state == "running" and s.step > step and s)
    assert resumed.attempts == 1
    began = time.monotonic()
    assert client.cancel(job).stopping
    until(lambda: client.status(job).state == "cancelled")
    assert time.monotonic() - began < 60
    assert client.cancel(job).state == "cancelled"
    with pytest.raises(WireError) as caught:
        client.pause(job)
    assert caught.value.code == "state"
    with pytest.raises(WireError) as caught:
        client.fetch_puppet(job, address.parent / "none.puppet")
    assert caught.value.code == "state"
    client.delete(job)
    with pytest.raises(WireError):
        client.status(job)


def test_bad_inputs_fail_with_a_sentence_and_a_remedy(client, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"this is no video")
    job = client.submit(Submit(base=client.upload(tmp_path / "a.mp4"), prompt="jump"))
    status = client.watch(job, lambda event, arrays: None)
    assert status.state == "failed"
    assert status.error
    assert status.error.code == "bad_input"
    assert "not a video" in status.error.what
    assert status.error.remedy
    client.delete(job)


def test_a_decompression_bomb_is_refused(client, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "0.png")
    bomb = Image.new("1", (20_000, 20_000))
    bomb.save(folder / "1.png")
    assert (folder / "1.png").stat().st_size < 100_000
    job = client.submit(Submit(base=client.upload(folder), prompt="jump"))
    status = client.watch(job, lambda event, arrays: None)
    assert status.state == "failed"
    assert status.error
    assert "20000x20000" in status.error.what
    client.delete(job)


def test_nobody_follows_the_jobs_of_all(address, done_job):
    """A subscription needs a job's full id, and the job to be the client's own."""
    connection = Connection.read(address)
    context = zmq.Context()
    try:
        socket = context.socket(zmq.SUB)
        secure(socket, connection)
        socket.connect(connection.address("progress"))
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        time.sleep(0.5)
        with Client.connect(address, timeout_s=30.0) as client:
            job = client.submit(tiny_job(client.upload, ENDLESS))
            until(lambda: client.status(job).state == "running")
            client.delete(job)
        assert not socket.poll(500)
    finally:
        context.destroy(linger=0)


def test_a_finished_puppet_performs_another_video(done_job, address, tmp_path):
    job, _, _ = done_job
    with Client.connect(address, timeout_s=60.0) as client:
        first = client.fetch_puppet(job, tmp_path / "first.puppet")
        again = client.submit(tiny_job(client.upload, into=client.upload(first), prompt="again"))
        ended = client.watch(again, lambda event, arrays: None)
        assert (ended.state, ended.error) == ("done", None)
        second = client.fetch_puppet(again, tmp_path / "second.puppet")
    before, after = Puppet.load(first), Puppet.load(second)
    assert [p.name for p in after.performances] == ["base", "restaged", "restaged 2"]
    np.testing.assert_array_equal(after.subject.means, before.subject.means)
    np.testing.assert_array_equal(after.performances[1].bases, before.performances[1].bases)
