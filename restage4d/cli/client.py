"""``restage4d submit | watch | fetch | list | cancel | page``: the client on the command line."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from restage4d.cli.console import printable
from restage4d.cli.options import add_fit, add_selection, check_masks
from restage4d.defaults import DRAFT_DRIVER
from restage4d.errors import FitError, InputError
from restage4d.protocol.client import Client, Lost
from restage4d.protocol.messages import (
    PRIORITIES,
    Event,
    JobProgress,
    JobStatus,
    StateChanged,
    SubjectSelection,
    Submit,
)


def add(commands: Any) -> None:
    """Adds the commands to the parser."""
    submit = commands.add_parser("submit", help="hand a job to the service")
    submit.add_argument("video", type=Path, help="base video or a folder of frames")
    submit.add_argument("prompt", help="what the subject shall do instead")
    add_selection(submit, words=False)
    submit.add_argument(
        "--driving",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a driving video of yours",
    )
    submit.add_argument(
        "--into", type=Path, metavar="PUPPET", help="a puppet file of the same video"
    )
    submit.add_argument("--name", default="", help="what to call the job")
    submit.add_argument(
        "--priority", choices=PRIORITIES, default="normal", help="among your own jobs"
    )
    add_fit(submit)
    submit.add_argument("--watch", action="store_true", help="stay and follow it")
    submit.set_defaults(do=_submit)
    watch = commands.add_parser("watch", help="follow a job of the service")
    fetch = commands.add_parser("fetch", help="fetch a job's puppet, or another result")
    fetch.add_argument(
        "--out", type=Path, metavar="FILE", help="where to (default: the job's name)"
    )
    fetch.add_argument(
        "--what", default="puppet", help="another result, e.g. preview.mp4 (default: puppet)"
    )
    cancel = commands.add_parser("cancel", help="end a job of the service")
    everything = commands.add_parser("list", help="the service's jobs")
    log = commands.add_parser("log", help="what happened to a job of the service")
    delete = commands.add_parser("delete", help="forget a job of the service, with its results")
    for parser, do in (
        (watch, _watch),
        (fetch, _fetch),
        (cancel, _cancel),
        (log, _log),
        (delete, _delete),
    ):
        parser.add_argument("job", help="its id, or the beginning of it")
        parser.set_defaults(do=do)
    everything.add_argument(
        "--everyone", action="store_true", help="everybody's jobs, for the service's owner"
    )
    everything.set_defaults(do=_list)
    page = commands.add_parser("page", help="the jobs in a browser on this machine, to look at")
    page.add_argument("--port", type=int, default=0, help="of this machine (default: a free one)")
    page.set_defaults(do=_page)
    for parser in (submit, watch, fetch, cancel, log, delete, everything, page):
        parser.add_argument(
            "--connection",
            type=Path,
            metavar="FILE",
            help="connection file (default: your own service's)",
        )


def _submit(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        send = _Bar("sending")
        masks = check_masks(arguments.mask, arguments.select, arguments.box)
        sent = {frame: client.upload(path, send) for frame, path in masks.items()}
        job = Submit(
            base=client.upload(arguments.video, send),
            prompt=arguments.prompt,
            name=arguments.name or arguments.video.stem,
            selection=SubjectSelection(
                point=arguments.select,
                box=arguments.box,
                mask=sent.pop(0, None),
                corrections=sent,
            ),
            head=arguments.head,
            driving=[client.upload(path, send) for path in arguments.driving] or DRAFT_DRIVER,
            into=client.upload(arguments.into, send) if arguments.into else "",
            quality=arguments.quality,
            settings=dict(_parse_setting(text) for text in arguments.set),
            longer_side=arguments.longer_side,
            first=arguments.first,
            frames=arguments.frames,
            seed=arguments.seed,
            priority=arguments.priority,
        )
        id = client.submit(job)
        print(id)
        if arguments.watch:
            _follow(client, id)


def _watch(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        _follow(client, _find(client, arguments.job))


def _follow(client: Client, job: str) -> None:
    printed = 0.0

    def show(event: Event | Lost, arrays: dict[str, NDArray]) -> None:
        nonlocal printed
        if isinstance(event, Lost):
            print(f"{event.what} Waiting for it ...", file=sys.stderr)
        elif isinstance(event, StateChanged):
            print(_line(event.status), flush=True)
        elif isinstance(event, JobProgress) and time.monotonic() - printed > 2.0:
            printed = time.monotonic()
            left = f", {event.time_left_s:.0f} s left" if event.time_left_s is not None else ""
            losses = "".join(f"  {name} {value:.4g}" for name, value in event.losses.items())
            print(printable(f"{event.percent:5.1f} %  {event.stage}{left}{losses}"), flush=True)

    try:
        status = client.watch(job, show)
    except KeyboardInterrupt:
        print(f"\nThe job goes on; restage4d watch {job[:12]} follows it again.", file=sys.stderr)
        raise SystemExit(130) from None
    if status.state == "failed" and status.error:
        raise FitError(f"{status.error.what} {status.error.remedy}")


def _fetch(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        job = _find(client, arguments.job)
        suffix = ".puppet" if arguments.what == "puppet" else "." + arguments.what.replace("/", "_")
        out = arguments.out or Path(_to_file_name(client.status(job).name) + suffix)
        if arguments.what == "puppet":
            client.fetch_puppet(job, out, _Bar("fetching"))
        else:
            client.fetch_artefact(job, arguments.what, out, _Bar("fetching"))
        print(out)


def _cancel(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        print(_line(client.cancel(_find(client, arguments.job))))


def _delete(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        client.delete(_find(client, arguments.job))


def _log(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        job = _find(client, arguments.job)
        for entry in client.replay(job):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
            error = f"  {entry.error.what}" if entry.error else ""
            share = f"{entry.percent:5.1f} %" if entry.stage else ""
            print(printable(f"{when}  {entry.state:<9}  {share}  {entry.stage}{error}".rstrip()))
        for line in client.fetch_log(job).splitlines():
            print(printable(line))


def _page(arguments: argparse.Namespace) -> None:
    # late: it reads puppets, and with them safetensors, which the client does without elsewhere
    from restage4d.status_page.server import StatusPage

    page = StatusPage(arguments.connection, arguments.port)
    print(f"{page.address}\nWhoever has this address sees your jobs. Ctrl-C ends it.", flush=True)
    try:
        page.serve()
    except KeyboardInterrupt:
        print()
    finally:
        page.close()


def _list(arguments: argparse.Namespace) -> None:
    with Client.connect(arguments.connection) as client:
        for status in client.jobs(everyone=arguments.everyone):
            whose = printable(f"{status.user[:16]:<16}  ") if arguments.everyone else ""
            print(whose + _line(status))


def _line(status: JobStatus) -> str:
    detail = f"{status.percent:.0f} % {status.stage}" if status.state == "running" else ""
    if status.state == "queued" and status.ahead:
        detail = f"{status.ahead} before it"
    if status.error:
        detail = f"{status.error.what} {status.error.remedy}"
    line = f"{status.id[:12]}  {status.state:<9}  {status.name[:40]:<40}  {detail}".rstrip()
    return printable(line)


def _find(client: Client, beginning: str) -> str:
    everyone = client.hello().owner
    jobs = client.jobs(everyone=everyone)
    found = [status.id for status in jobs if status.id.startswith(beginning)]
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'No'} jobs begin with {beginning!r}.", "See restage4d list."
        )
    return found[0]


def _to_file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_ " else "_" for c in name)[:80].strip() or "job"


def _parse_setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text} is not KEY=VALUE.", "Write it like --set fusion.steps=500.")
    return key, value


class _Bar:
    """Percent of a transfer, on a terminal only."""

    def __init__(self, what: str) -> None:
        self.what, self.printed = what, 0.0

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - self.printed > 0.1 or done == total):
            self.printed = time.monotonic()
            end = "\n" if done == total else ""
            print(
                f"\r{self.what} {100 * done / max(total, 1):5.1f} %",
                end=end,
                file=sys.stderr,
                flush=True,
            )
