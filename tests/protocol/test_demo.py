"""The whole way through the service: the project's own clip goes up, a puppet comes back."""

from pathlib import Path

import pytest

from restage4d.protocol.messages import (
    JobProgress,
    Preview,
    PreviewPoints,
    SubjectSelection,
    Submit,
)
from restage4d.puppet import Puppet

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_clip"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_video_and_prompt_become_a_puppet(client, tmp_path):
    sent = []
    job = client.submit(
        Submit(
            base=client.upload(DEMO / "base.mp4", lambda done, total: sent.append(done)),
            prompt="it nods, then jumps",
            selection=SubjectSelection(mask=client.upload(DEMO / "masks" / "00000.png")),
            longer_side=128,
            frames=10,
            seed=3,
            settings={
                "motion.steps": 60,
                "motion.n_bases": 20,
                "fusion.steps": 80,
                "fusion.max_background": 6000,
            },
        )
    )
    events = []
    status = client.watch(job, lambda event, arrays: events.append((event, arrays)))
    assert status.state == "done", status
    assert sent
    told = [e for e, _ in events if isinstance(e, JobProgress)]
    assert {"tracks", "motion initialisation", "photometric fusion"} <= {e.stage for e in told}
    assert [e.percent for e in told] == sorted(e.percent for e in told)
    assert any(e.time_left_s is not None for e in told)
    assert any(isinstance(e, Preview) for e, _ in events)
    grown = [a for e, a in events if isinstance(e, PreviewPoints)]
    assert grown
    assert grown[0]["bases"].shape == (1, 1, 9)  # the sketch, before any mask but the first
    at = next(i for i, (e, _) in enumerate(events) if isinstance(e, PreviewPoints))
    assert "masks" not in {e.stage for e, _ in events[:at] if isinstance(e, JobProgress)}
    assert grown[-1]["bases"].shape[0] == 20
    puppet = Puppet.load(client.fetch_puppet(job, tmp_path / "demo.puppet"))
    assert [p.name for p in puppet.performances] == ["base", "restaged"]
    assert puppet.performances[0].n_frames == 10
    assert puppet.performances[1].prompt == "it nods, then jumps"
    assert puppet.n_bases == 20
    assert {"puppet", "preview.mp4", "contact_sheet.png", "report.json", "footage/base.mp4"} <= set(
        status.artefacts
    )
    sheet = client.fetch_artefact(job, "contact_sheet.png", tmp_path / "sheet.png")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    performance = puppet.performances[1]
    rgba, depth = client.render(
        job,
        performance.bases[:, 3],
        performance.w2c[3],
        performance.K[3],
        performance.size,
        timeout_s=300,
    )
    assert rgba[..., 3].mean() > 0.9
    assert (depth > 0).mean() > 0.9
    client.delete(job)
