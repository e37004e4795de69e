"""Hand a job to the service, follow it, fetch the puppet, let the service draw it.

    python examples/05_drive_the_backend.py [VIDEO] [PROMPT] [--out FOLDER]

Takes this computer's service (`restage4d serve`), or starts one that ends with this script.
"""

import argparse
import os
from pathlib import Path

from inputs import DEMO, OUT, QUICK

import restage4d as r4
from restage4d.protocol.messages import JobProgress, Submit
from restage4d.protocol.service import start_service

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("video", nargs="?", type=Path, default=DEMO)
parser.add_argument("prompt", nargs="?", default="it nods")
parser.add_argument("--out", type=Path, default=OUT)
arguments = parser.parse_args()


def show(event, arrays) -> None:
    if isinstance(event, JobProgress):
        print(f"{event.percent:5.1f} %  {event.stage}", flush=True)


with start_service(parent_pid=os.getpid()) as client:
    base, prompt = client.upload(arguments.video), arguments.prompt
    ask = Submit(base=base, prompt=prompt, frames=8, longer_side=160, settings=QUICK)
    job = client.submit(ask)
    status = client.watch(job, show)
    if status.state != "done":
        raise SystemExit(f"The job is {status.state}: {status.error}")
    puppet = r4.load(client.fetch_puppet(job, arguments.out / "backend.puppet"))
    p = puppet.performances[-1]
    rgba, depth = client.render(job, p.bases[:, -1], p.w2c[-1], p.K[-1], p.size)
    print(puppet, f"drawn there: {rgba.shape}, nearest at {depth[depth > 0].min():.2f}", sep="\n")
