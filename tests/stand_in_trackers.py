"""Checkouts shaped like tapnet and co-tracker, for tests without the real ones: what they track is
a red blob on grey.

Call signatures, coordinate conventions and checkpoint formats are those of the real code
(tapnet/torch/tapir_model.py, tapnet/tapnext/tapnext_torch.py, cotracker/predictor.py with
hubconf.py). A query is taken to move as the blob does.
"""

from pathlib import Path

import numpy as np
import torch

_BLOB = """
import torch
from torch import nn

def centre(video):  # (T, H, W, 3) any range -> (T, 2) x, y of the red blob with centres at +0.5
    red = (video[..., 0] - video[..., 1:].mean(-1)).clamp(min=0)
    red = red * (red > 0.5 * red.amax((1, 2), keepdim=True))
    total = red.sum((1, 2)).clamp(min=1e-6)
    y = torch.arange(red.shape[1], device=red.device) + 0.5
    x = torch.arange(red.shape[2], device=red.device) + 0.5
    return torch.stack([(red.sum(1) * x).sum(1) / total, (red.sum(2) * y).sum(1) / total], -1)
"""

_TAPIR = (
    _BLOB
    + """
class TAPIR(nn.Module):
    def __init__(self, pyramid_level=1):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, video, query_points):
        assert video.shape[-3:] == (256, 256, 3) and video.min() >= -1 and video.max() <= 1
        way, time = centre(video[0]), query_points[0, :, 0].long()
        tracks = query_points[0, :, None, [2, 1]] + (way[None] - way[time][:, None]) * self.gain
        sure = torch.full((1, *tracks.shape[:2]), -9.0, device=video.device)
        hidden = sure.clone()
        hidden[:, :, 0] = 9.0  # the first frame: surely hidden
        return {"tracks": tracks[None], "occlusion": hidden, "expected_dist": sure}
"""
)

_TAPNEXT = (
    _BLOB
    + """
class TAPNext(nn.Module):
    def __init__(self, image_size):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, video, query_points):
        way, time = centre(video[0]), query_points[0, :, 0].long()
        yx = query_points[0, :, None, 1:] + (way[None] - way[time][:, None]).flip(-1) * self.gain
        before = torch.arange(len(way), device=time.device)[None] < time[:, None]
        # it knows nothing before its query
        yx = torch.where(before[..., None], torch.full_like(yx, 999.0), yx)
        logits = torch.where(before, -9.0, 9.0)
        return yx.transpose(0, 1)[None], None, logits.T[None, ..., None], None
"""
)

_RESTORE = """
import numpy as np
import torch

def restore_model_from_jax_checkpoint(model, path):
    model.gain.data.copy_(torch.tensor(np.load(path)["gain"]))
    return model
"""

_HUBCONF = (
    _BLOB
    + """
class Predictor(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        self.model.gain = nn.Parameter(torch.zeros(1))

    def forward(self, video, queries=None, backward_tracking=False):
        assert backward_tracking and video.max() > 1
        way, time = centre(video[0].permute(0, 2, 3, 1)) - 0.5, queries[0, :, 0].long()
        tracks = queries[0, :, None, 1:] + (way[None] - way[time][:, None]) * self.model.gain
        visible = torch.ones(1, len(way), tracks.shape[0], dtype=torch.bool)
        return tracks.transpose(0, 1)[None], visible

def cotracker3_offline(*, pretrained=True, **kwargs):
    assert not pretrained
    return Predictor()
"""
)


def write(folder: Path) -> Path:
    """Folders bootstapir, tapnext and cotracker3 as docs/providers.md asks for them, with
    checkpoints that make them work."""
    for name in ("bootstapir", "tapnext"):
        package = folder / name / "tapnet" / "tapnet"
        files = {
            "__init__.py": "", "torch/__init__.py": "", "torch/tapir_model.py": _TAPIR,
            "tapnext/__init__.py": "",
            "tapnext/tapnext_torch.py": _TAPNEXT, "tapnext/tapnext_torch_utils.py": _RESTORE,
        }  # fmt: skip
        for path, text in files.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_text(text)
    (folder / "cotracker3" / "co-tracker").mkdir(parents=True)
    (folder / "cotracker3" / "co-tracker" / "hubconf.py").write_text(_HUBCONF)
    one = {"gain": torch.ones(1)}
    torch.save(one, folder / "bootstapir" / "bootstapir_checkpoint_v2.pt")
    torch.save(one, folder / "cotracker3" / "scaled_offline.pth")
    np.savez(folder / "tapnext" / "bootstapnext_ckpt.npz", gain=np.ones(1, np.float32))
    return folder
