"""``restage4d serve`` and ``restage4d keys``: what the owner of a service does on the command
line."""

import argparse
from pathlib import Path
from typing import Any

from backend.__main__ import add_arguments, serve
from backend.keys import Keys, make_client
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
    make.set_defaults(do=_make)
    allow = actions.add_parser("allow", help="let a public key in that somebody made")
    allow.add_argument("name")
    allow.add_argument("public", help="the 40 characters of a CURVE public key")
    allow.set_defaults(do=lambda a: Keys(home() / "keys").allow(a.name, a.public))
    revoke = actions.add_parser("revoke", help="shut somebody out")
    revoke.add_argument("name")
    revoke.set_defaults(do=lambda a: Keys(home() / "keys").revoke(a.name))
    actions.add_parser("list", help="who may come in").set_defaults(do=_list)


def _make(options: argparse.Namespace) -> None:
    out = options.out or Path(f"{options.name}.restage4d.json")
    make_client(home(), options.name, options.host, out)
    print(
        f"{out} lets {options.name} in. It holds a secret key: hand it over as you would a "
        "password."
    )


def _list(options: argparse.Namespace) -> None:
    for name, public in sorted(Keys(home() / "keys").allowed().items()):
        print(f"{name:<30} {public}")
