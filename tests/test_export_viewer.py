"""The SuperSplat viewer (of splat-transform, npm) shows what was exported as the renderer does:
upright, in its colours. In headless Chromium, where there are Node.js and both."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import box_puppet

from restage4d.exporting.formats import FORMATS
from restage4d.exporting.shot import Shot
from restage4d.exporting.writing import export_performance
from restage4d.puppet import Camera
from restage4d.splatting.gaussians import render_gaussians

SIZE, FIELD = 320, 60.0  # pixels, degrees
EYE, TARGET = np.array([1.0, -1.5, 1.1]), np.array([0.0, 0, 0.25])  # z up, metres
PROGRAMS = {
    name: next(filter(None, map(shutil.which, commands)), None)
    for name, commands in {
        "splat-transform (npm)": ("splat-transform",),
        "Node.js": ("node",),
        "Chromium": ("chromium", "chromium-browser", "google-chrome"),
    }.items()
}
MISSING = [name for name, path in PROGRAMS.items() if path is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not on the path: {', '.join(MISSING)}")

# Opens a page and takes pictures until two in a row are the same and show something.
_TAKE = """
const [port, url, size, out] = process.argv.slice(1);
const fs = require("fs"), nap = s => new Promise(ok => setTimeout(ok, 1000 * s));
(async () => {
  let tab;
  for (let i = 0; i < 100 && !tab; i++) {
    try {
      const at = "http://127.0.0.1:" + port + "/json/new?" + encodeURIComponent(url);
      tab = await (await fetch(at, {method: "PUT"})).json();
    } catch { await nap(0.3); }
  }
  const ws = new WebSocket(tab.webSocketDebuggerUrl), open = new Map();
  let id = 0, before = "", empty;
  ws.onmessage = e => { const m = JSON.parse(e.data); open.get(m.id)?.(m.result); };
  const call = (method, params = {}) =>
    new Promise(ok => { open.set(++id, ok); ws.send(JSON.stringify({id, method, params})); });
  await new Promise(ok => ws.onopen = ok);
  const n = Number(size), metrics = {width: n, height: n, deviceScaleFactor: 1, mobile: false};
  await call("Emulation.setDeviceMetricsOverride", metrics);
  for (let i = 0; i < 40; i++) {
    await nap(2);
    const {data} = await call("Page.captureScreenshot", {format: "png"});
    if (data === before && data.length > 12000) break;
    before = data;
  }
  fs.writeFileSync(out, Buffer.from(before, "base64"));
  process.exit(0);
})();
"""


def take_picture(page: Path, out: Path) -> np.ndarray:
    """(H, W, 3) of a page, 0..1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PROGRAMS["Chromium"]),
        "--headless=new",
        "--no-sandbox",
        "--ignore-gpu-blocklist",
    ]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "about:blank"]
    command += [f"--remote-debugging-port={port}", f"--user-data-dir={page.parent / 'profile'}"]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=null, stderr=null) as browser:
        try:
            address = f"{page.as_uri()}?noui&noanim&webgl"
            node = [str(PROGRAMS["Node.js"]), "--experimental-websocket", "-e", _TAKE]
            subprocess.run(
                [*node, str(port), address, str(SIZE), str(out)], check=True, timeout=150
            )
        finally:
            browser.terminate()
    return np.asarray(Image.open(out).convert("RGB"), np.float32) / 255


def render() -> np.ndarray:
    puppet = box_puppet()
    forward = (TARGET - EYE) / np.linalg.norm(TARGET - EYE)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    w2c = np.eye(4, dtype=np.float32)
    w2c[:3, :3] = [right, np.cross(forward, right), forward]
    w2c[:3, 3] = -w2c[:3, :3] @ EYE
    focal = SIZE / 2 / np.tan(np.radians(FIELD / 2))
    K = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]], np.float32)
    rgba, _ = render_gaussians([puppet.pose("restaged", 2)], Camera(K, w2c, (SIZE, SIZE)))
    return rgba[..., :3].clip(0, 1)


def to_viewer(point: np.ndarray) -> list[float]:
    """From z up to the viewer's y up: it turns y-down files by half a circle about z."""
    x, y, z = point.tolist()
    return [-x, z, y]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def test_the_viewer_shows_what_the_renderer_does(tmp_path: Path) -> None:
    puppet = box_puppet()
    shot = Shot(puppet, puppet.performance("restaged"), range(2, 3), axes=FORMATS["ply"].axes)
    export_performance(shot, "ply", tmp_path / "a.ply")
    page = tmp_path / "view.html"
    program = str(PROGRAMS["splat-transform (npm)"])
    subprocess.run(
        [program, "-q", "-g", "cpu", str(tmp_path / "a.ply"), str(page)], check=True, timeout=120
    )
    text = page.read_text(encoding="utf-8")
    start = f'"initial":{{"position":{to_viewer(EYE)},"target":{to_viewer(TARGET)},"fov":{FIELD}}}'
    text, n = re.subn(r'"initial":\{"position":\[[^}]*\}', start, text)
    text, m = re.subn(r'"background":\{"color":\[[^\]]*\]', '"background":{"color":[0,0,0]', text)
    assert (n, m) == (1, 1), "the viewer's settings look otherwise now"
    page.write_text(text, encoding="utf-8")
    seen, truth = take_picture(page, tmp_path / "seen.png"), render()
    assert seen.shape == truth.shape
    assert truth.max() > 0.5
    likeness = psnr(seen, truth)
    assert likeness > 25, likeness
    for other in (truth[::-1], truth[:, ::-1]):
        assert likeness > psnr(seen, other) + 6
