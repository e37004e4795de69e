"""Restage4D: restage a filmed subject as a 3D Gaussian puppet.

As a library, ``import restage4d as r4``:

    >>> puppet = r4.restage("dog.mp4", "the dog jumps")  # or r4.load("dog.puppet")
    >>> gaussians = puppet.pose("restaged", frame=20)
    >>> rgba = r4.render(puppet, "restaged", 20)
    >>> r4.export(puppet, "dog.ply", performance="restaged", frame=20)

The import itself loads nothing and changes nothing in the process. Each name is loaded when it is
first used: puppets need numpy and safetensors, drawing and restaging ``restage4d[backend]``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restage4d.api import (
        export,
        load,
        orbit,
        render,
        restage,
    )
    from restage4d.errors import Cancelled, FitError, InputError
    from restage4d.progress import Progress
    from restage4d.puppet import (
        Camera,
        Gaussians,
        Performance,
        Puppet,
    )

__version__ = "0.1.0"
__all__ = [
    "Camera",
    "Cancelled",
    "FitError",
    "Gaussians",
    "InputError",
    "Performance",
    "Progress",
    "Puppet",
    "export",
    "load",
    "orbit",
    "render",
    "restage",
]
_MODULES = {
    "api": ("export", "load", "orbit", "render", "restage"),
    "errors": ("Cancelled", "FitError", "InputError"),
    "progress": ("Progress",),
    "puppet": ("Camera", "Gaussians", "Performance", "Puppet"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"restage4d.{module}"), name)
    raise AttributeError(f"restage4d has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
