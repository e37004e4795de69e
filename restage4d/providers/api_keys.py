"""Keys of services: from the environment or the system's keyring, and nowhere else. Nothing here
writes or prints one."""

import os

from restage4d.errors import InputError

_SERVICE = "restage4d"


def find_key(name: str) -> str | None:
    """The key called ``name`` (its environment variable), else the keyring's entry of that name;
    None where neither has it."""
    if key := os.environ.get(name):
        return key
    try:
        import keyring

        return keyring.get_password(_SERVICE, name)
    except Exception:  # no keyring on this system, or it is locked: the same as having no key in it
        return None


def need_key(name: str) -> str:
    """As `find_key`. Raises `InputError` saying how to give the key where there is none."""
    key = find_key(name)
    if not key:
        raise InputError(f"There is no key for this service: {name} is not set.", how_to_set(name))
    return key


def how_to_set(name: str) -> str:
    return (
        f"Set the environment variable {name}, or keep it in the system's keyring: python -m "
        f"keyring set {_SERVICE} {name}"
    )
