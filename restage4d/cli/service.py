"""``restage4d serve`` and ``restage4d keys``: what the owner of a service does on the command
line."""

import argparse
from pathlib import Path
from typing import Any

from backend.__main__ import add_arguments, serve
from backend.logs import audit_to_file, note
from backend.network.keys import Keys, make_client
from restage4d.protocol.connection import home


def add(commands: Any) -> None:
    """Adds the commands to the parser."""
    server = commands.add_parser(
        "serve", help="run the service that Blender and others send jobs to"
    )
    add_arguments(server)
    server.set_defaults(do=serve)
    keys = commands.add_parser("keys", help="who may use a service that other machines can reach")
    actions = keys.add_subparsers(dest="action", required=True)
    make = actions.add_parser(
        "make", help="a connection file for somebody, with a key of its own that may come in"
    )
    make.add_argument("name")
    make.add_argument(
        "--host", required=True, help="name or address under which this machine is reached"
    )
    make.add_argument("--out", type=Path, help="the file to write (default: NAME.restage4d.json)")
    make.add_argument(
        "--owner", action="store_true", help="they see, cancel and delete everybody's jobs"
    )
    make.set_defaults(do=_make)
    allow = actions.add_parser("allow", help="let a public key in that somebody made")
    allow.add_argument("name")
    allow.add_argument("public", help="the 40 characters of a CURVE public key")
    allow.set_defaults(do=_allow)
    for action, words in (
        ("revoke", "shut somebody out for good"),
        ("disable", "shut somebody out for a while"),
        ("enable", "let somebody who was disabled in again"),
    ):
        one = actions.add_parser(action, help=words)
        one.add_argument("name")
        one.set_defaults(do=_change)
    actions.add_parser("list", help="who may come in").set_defaults(do=_list)


def _make(options: argparse.Namespace) -> None:
    out = options.out or Path(f"{options.name}.restage4d.json")
    make_client(home(), options.name, options.host, out, "owner" if options.owner else "user")
    _note(options)
    print(
        f"{out} lets {options.name} in. It holds a secret key: hand it over as you would a "
        "password."
    )


def _allow(options: argparse.Namespace) -> None:
    Keys(home() / "keys").allow(options.name, options.public)
    _note(options)


def _change(options: argparse.Namespace) -> None:
    """Revokes, disables or enables. A service that runs ends their connections within a second and
    pauses their jobs."""
    keys = Keys(home() / "keys")
    if options.action == "revoke":
        keys.revoke(options.name)
    else:
        keys.disable(options.name, options.action == "disable")
    _note(options)


def _note(options: argparse.Namespace) -> None:
    """Into the service's audit log, from this process."""
    audit_to_file(home())
    note("local", f"keys {options.action}", detail=options.name)


def _list(options: argparse.Namespace) -> None:
    for name, user in sorted(Keys(home() / "keys").users().items()):
        print(f"{name:<30} {user.key} {user.role}{', disabled' if user.disabled else ''}")
