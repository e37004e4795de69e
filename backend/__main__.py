"""``python -m backend`` and ``restage4d serve``: starts the service, or finds the one that runs."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from backend.control import Announced
from backend.file_lock import FileLock
from backend.jobs.executors import Executor, LocalExecutor
from backend.logs import log_to_files
from backend.network.ray_token import use_ray_token
from backend.network.sockets import read_ports
from backend.server import Server
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol.connection import CHANNELS, home
from restage4d.protocol.messages import ProviderInfo
from restage4d.protocol.private_folder import make_private
from restage4d.providers.availability import find_needs
from restage4d.providers.registry import ENTRIES, describe_terms
from restage4d.providers.settings import read_settings
from restage4d.providers.weights import Weights
from restage4d.threads import let_waiting_threads_sleep

# Jobs get 20 seconds for their checkpoints; systemd kills all that is left after 60.
_END_S = 50.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``restage4d serve``."""
    parser.add_argument(
        "--bind",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="listen here; anything but loopback asks for keys (restage4d keys)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="first of four ports in a row (default: the last ones, or free ones)",
    )
    parser.add_argument(
        "--executor",
        choices=("local", "ray"),
        default="local",
        help="run jobs here, or on a Ray cluster",
    )
    parser.add_argument("--address", default="auto", help="of the Ray cluster")
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="end when this process ends")


def serve(options: argparse.Namespace) -> None:
    """Serves until it is told to end. Where a service runs already, says so and returns.

    Raises:
        InputError: settings, address, port or folder that cannot be used.

    Exit codes: 0 it was told to end, 1 `InputError`, 3 it failed and should be started again.
    """
    folder = home()
    _keep_private(folder)
    raise_descriptor_limit()
    lock = FileLock(folder / "service.lock")
    try:
        ours = lock.acquire()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be used: {error.strerror}.", "Set RESTAGE4D_HOME to another folder."
        ) from error
    if not ours:
        print(f"A service runs already; its connection file is {folder / 'connection.json'}.")
        return
    settings = ServiceSettings.load(folder / "service.toml")
    log_to_files(folder, settings.log)
    ports = _find_ports(options.port, folder)
    server = Server(
        folder,
        _choose_executor(options, settings),
        settings,
        options.bind,
        ports,
        Announced(_list_providers(), _describe_refiner()),
        exact=bool(options.port),
    )
    if server.repaired:
        print(server.repaired, flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stopping.set())
    end_at_last(server.stopping)
    server.start()
    print(f"Serving on {options.bind}; connection file {folder / 'connection.json'}", flush=True)
    server.run(_watch_parent(options.parent_pid))
    # Threads of a pool may still hold an upload or a drawing; all that matters is on disk.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(3 if server.failed else 0)


def end_at_last(stopping: threading.Event, seconds: float = _END_S) -> None:
    """Ends this process so long after ``stopping``, whatever it waits for then."""

    def end() -> None:
        stopping.wait()
        time.sleep(seconds)
        logging.getLogger("restage4d.service").error("did not end within %.0f s", seconds)
        os._exit(3)

    threading.Thread(target=end, name="end at last", daemon=True).start()


def _choose_executor(
    options: argparse.Namespace, settings: ServiceSettings
) -> Callable[[Store], Executor]:
    slots, gpu_gigabytes = settings.slots, settings.job_gpu_gigabytes
    if options.executor == "local":
        ahead = settings.prepare_ahead
        return lambda store: LocalExecutor(store, slots, gpu_gigabytes, ahead)
    use_ray_token()
    try:
        # late: Ray is an extra that few have
        from backend.jobs.ray_executor import RayExecutor
    except ImportError as error:
        raise InputError(
            "Ray is not installed.", "Install restage4d[backend,farm] here and on every node."
        ) from error

    return lambda store: RayExecutor(store, options.address, slots, gpu_gigabytes)


def _find_ports(first: int, folder: Path) -> dict[str, int]:
    """The ports asked for, or those of last time, so that clients find a service that was started
    again."""
    if first:
        if not 1 <= first <= 65535 - len(CHANNELS) + 1:
            raise InputError(f"There is no port {first}.", "Give a number from 1 to 65532.")
        return {name: first + i for i, name in enumerate(CHANNELS)}
    return read_ports(folder / "last.json")


def _list_providers() -> list[ProviderInfo]:
    """All providers, as this computer is now."""
    weights, settings = Weights.from_settings(None, False), read_settings()
    return [
        ProviderInfo(
            kind=e.kind,  # type: ignore[arg-type]
            name=e.name,
            title=e.title,
            licence=e.licence,
            terms=describe_terms(e),
            needs=find_needs(e, weights, settings),
            sends=bool(e.key),
            gigabytes=e.size,
            memory=e.memory,
        )
        for e in ENTRIES
    ]


def _describe_refiner() -> str:
    """Who refines prompts, "MODEL at URL"; "" for fixed words."""
    settings = read_settings()
    return (
        f"{settings.refine_model} at {settings.refine_url}"
        if settings.refine_url and settings.refine_model
        else ""
    )


def _watch_parent(pid: int | None) -> Callable[[], bool]:
    """Whether the parent still lives; a process id that was given to another process does not
    count."""
    if pid is None:
        return lambda: True
    try:
        parent = psutil.Process(pid)
    except psutil.Error:
        return lambda: False

    def lives() -> bool:
        try:
            return parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    return lives


def _keep_private(folder: Path) -> None:
    """Prompts, previews and uploads are their user's alone: the folder and all that the service and
    its workers write."""
    try:
        make_private(folder)
    except OSError as error:
        if os.name == "nt" and folder.is_dir():  # a disk without access lists
            print(f"Others may be able to read {folder}: {error}", file=sys.stderr, flush=True)
            return
        raise InputError(
            f"{folder} cannot be made private: {error.strerror or error}.",
            "Set RESTAGE4D_HOME to a folder of your own.",
        ) from error


def raise_descriptor_limit() -> None:
    """As many open connections and files as the system allows; many start programs with 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    let_waiting_threads_sleep()
    parser = argparse.ArgumentParser(
        prog="python -m backend", description="The service that runs Restage4D's jobs."
    )
    add_arguments(parser)
    try:
        serve(parser.parse_args())
    except InputError as error:
        print(f"restage4d: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
