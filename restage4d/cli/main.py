"""The command line: puts the commands together and says errors in one sentence."""

import argparse
import sys

from restage4d import __version__
from restage4d.cli import evaluate, info, refine, run
from restage4d.cli.console import printable
from restage4d.errors import Cancelled, FitError, InputError
from restage4d.threads import let_waiting_threads_sleep


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 bad input or failed fit, 130 stopped by the user."""
    let_waiting_threads_sleep()
    parser = argparse.ArgumentParser(
        prog="restage4d", description="Restage filmed subjects as 3D Gaussian puppets."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (run, info, refine, evaluate, *_backend_commands()):
        command.add(commands)
    try:
        arguments = parser.parse_args(argv)
        arguments.do(arguments)
    except (InputError, FitError) as error:
        print(f"\nrestage4d: {printable(str(error))}", file=sys.stderr)
        return 1
    except Cancelled:
        print(
            "\nStopped. What is done is kept; the same command goes on from there.", file=sys.stderr
        )
        return 130
    return 0


def _backend_commands() -> list:
    """None where the extra "backend" is not installed, as in Blender: there is no service to run or
    to ask."""
    try:
        from restage4d.cli import client, export, service
        from restage4d.cli.computer import doctor, models
    except ImportError:
        return []
    return [export, doctor, models, client, service]


if __name__ == "__main__":
    sys.exit(main())
