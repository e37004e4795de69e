"""The status page: what a browser gets with the token, and what anybody gets without."""

import http.client
import json
import shutil
import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_job import tiny_job

from restage4d.protocol.client import Client
from restage4d.protocol.messages import ENDED
from restage4d.puppet import Puppet
from restage4d.status_page.server import StatusPage
from restage4d.status_page.splats import COLUMNS, pack_splats

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def done(address):
    """A finished job's id."""
    with Client.connect(address, timeout_s=60.0) as client:
        job = client.submit(tiny_job(client.upload, name="<b>ball</b>"))
        client.watch(job, lambda event, arrays: None)
        assert client.status(job).state == "done"
        return job


@pytest.fixture
def page(address):
    page = StatusPage(address)
    thread = threading.Thread(target=page.serve, daemon=True)
    thread.start()
    yield page
    page.close()
    thread.join(5)


def get(page: StatusPage, path: str, cookie: str | None = None, method: str = "GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    if cookie is not None:
        headers["Cookie"] = f"restage4d_{page.port}={cookie}"
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize("path", ["/", "/page.js", "/jobs", "/jobs/x/preview"])
def test_nothing_is_said_without_the_token(page, path):
    for cookie in (None, "", "wrong", page.token[:-1], page.token + "x"):
        answer, body = get(page, path, cookie)
        assert answer.status == 403
        assert b"token" in body
        assert page.token.encode() not in body


def test_the_token_becomes_a_cookie_of_this_page_alone(page):
    answer, _ = get(page, f"/?token={page.token}")
    assert answer.status == 303
    assert answer.headers["Location"] == "/"
    cookie = answer.headers["Set-Cookie"]
    assert page.token in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    answer, body = get(page, "/", page.token)
    assert answer.status == 200
    assert b"<title>Restage4D" in body
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_other_hosts_and_other_methods_are_refused(page):
    assert get(page, "/jobs", page.token, Host="evil.example")[0].status == 403
    for method in ("POST", "PUT", "DELETE"):
        assert get(page, "/jobs", page.token, method)[0].status == 501


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/static/page.html",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/jobs/nobody/preview",
        "/jobs/%00/results/contact_sheet.png",
        "/jobs/nobody/results/job.json",
        "/jobs/nobody/splats/0/-1",
        "/jobs/" + "x" * 300 + "/puppet",
    ],
)
def test_what_is_not_there_is_not_found(page, path):
    answer, body = get(page, path, page.token)
    assert answer.status in (404, 502)
    assert b"Traceback" not in body
    assert b"passwd" not in body


def test_jobs_results_and_splats(page, done, client, tmp_path):
    jobs = json.loads(get(page, "/jobs", page.token)[1])
    (job,) = [j for j in jobs if j["id"] == done]
    assert job["state"] in ENDED
    sheet = get(page, f"/jobs/{done}/results/contact_sheet.png", page.token)[1]
    assert sheet[:4] == b"\x89PNG"
    puppet = Puppet.load(client.fetch_puppet(done, tmp_path / "p.puppet"))
    about = json.loads(get(page, f"/jobs/{done}/puppet", page.token)[1])
    assert [p["name"] for p in about["performances"]] == ["base", "restaged"]
    body = get(page, f"/jobs/{done}/splats/1/2", page.token)[1]
    assert body == pack_splats(puppet.pose("restaged", 2))
    assert get(page, f"/jobs/{done}/splats/1/4", page.token)[0].status == 404
    assert get(page, f"/jobs/{done}/splats/2/0", page.token)[0].status == 404


def test_rows_hold_what_the_viewer_reads(page, done, client, tmp_path):
    puppet = Puppet.load(client.fetch_puppet(done, tmp_path / "p.puppet"))
    gaussians = puppet.pose("base", 0)
    rows = np.frombuffer(pack_splats(gaussians), "<f4").reshape(-1, COLUMNS)
    np.testing.assert_array_equal(rows[:, :3], gaussians.means)
    np.testing.assert_array_equal(rows[:, 6], gaussians.opacities)
    xx, yy, zz = rows[:, 7], rows[:, 10], rows[:, 12]
    np.testing.assert_allclose(xx + yy + zz, (gaussians.scales**2).sum(1), rtol=1e-4)
    np.testing.assert_allclose(
        rows[:, 3:6], (0.5 + 0.28209479 * gaussians.sh[:, 0]).clip(0, 1), atol=1e-5
    )


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_in_a_browser(page, done, tmp_path: Path):
    """The page lists the job by its name as text, and its viewer draws the puppet."""
    assert CHROMIUM is not None
    shot = tmp_path / "page.png"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu-sandbox"]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=6000"]
    command += ["--window-size=1200,900", f"--screenshot={shot}"]
    address = f"{page.address}#{done}"
    subprocess.run([*command, address], capture_output=True, timeout=120, check=True)
    seen = subprocess.run(
        [*command[:-1], "--dump-dom", address], capture_output=True, timeout=120, check=True
    ).stdout.decode()
    assert "&lt;b&gt;ball&lt;/b&gt;" in seen  # the name is text, not markup
    assert 'data-drawn="' in seen
    picture = cv2.imread(str(shot))
    assert picture is not None
    colourful = (np.ptp(picture.astype(int), axis=2) > 60).sum()
    assert colourful > 2000  # the ball; the page itself is grey but for its lines
