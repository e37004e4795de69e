"""What the owner of a service may set, in ``service.toml`` of its folder; every value has a
default."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import msgspec

from restage4d.errors import InputError
from restage4d.protocol.messages import Limits

_LARGEST = 1 << 40  # of any limit
_RANGES = {
    "keep_days": (1, 36500),
    "keep_gigabytes": (1, 1e6),
    "slots": (1, 1024),
    "attempts": (1, 1000),
    "memory_gigabytes": (0.1, 1024),
    "job_hours": (0, 10_000),
    "job_gigabytes": (0, 100_000),
    "job_gpu_gigabytes": (0, 10_000),
    "user_gigabytes": (0, 1e6),
    "monitoring_port": (0, 65535),
}


@dataclass(frozen=True)
class ServiceSettings:
    """Retention, queueing and limits.

    Attributes:
        keep_days: ended jobs and unused uploads older than this are deleted.
        keep_gigabytes: beyond this the oldest ended jobs go first.
        slots: jobs at a time on a machine without a GPU, or on a Ray cluster; a GPU takes one job
            at a time.
        prepare_ahead: whether the next job prepares while one fits, at lower priority, until its
            own fit: where fits run on a GPU, always, or never. Not on a Ray cluster.
        attempts: how often a job whose process ended by itself is started.
        memory_gigabytes: that messages of all clients may hold in the service's memory; one user
            may hold a quarter of it. Who holds the most beyond it is cut off.
        job_hours: that a job may take from one start to its end; 0: any.
        job_gigabytes: of memory that a job's process may take, on this machine; 0: any.
        job_gpu_gigabytes: of a GPU's memory that a job's tensors may take; 0: all of it.
        user_gigabytes: in the store, that a user may bring and have made; 0: any.
        monitoring_port: of this machine, for health and metrics over HTTP; 0: none.
        log: of what kind service.log is.
        limits: what clients may send, see `restage4d.protocol.messages.Limits`.
    """

    keep_days: float = 30.0
    keep_gigabytes: float = 100.0
    slots: int = 1
    prepare_ahead: Literal["gpu", "always", "never"] = "gpu"
    attempts: int = 4
    memory_gigabytes: float = 2.0
    job_hours: float = 48.0
    job_gigabytes: float = 0.0
    job_gpu_gigabytes: float = 0.0
    user_gigabytes: float = 0.0
    monitoring_port: int = 0
    log: Literal["text", "json"] = "text"
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raises `InputError` for a number out of its range."""
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # NaN too
                raise InputError(
                    f"{name} = {value:g} is not a number from {least:g} to {most:g}.",
                    f"The default is {getattr(ServiceSettings, name):g}.",
                )
        for name in Limits.__struct_fields__:
            value, default = getattr(self.limits, name), getattr(Limits(), name)
            if not 1 <= value <= _LARGEST:
                what = f"{name} = {value} is {'below 1' if value < 1 else 'too large'}."
                raise InputError(what, f"The default is {default}.")

    @staticmethod
    def load(path: Path) -> "ServiceSettings":
        """Reads the file, or gives the defaults where there is none. Raises `InputError` for
        unknown names and wrong values."""
        if not path.is_file():
            return ServiceSettings()
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            unknown = table.keys() - {f.name for f in fields(ServiceSettings)}
            unknown |= table.get("limits", {}).keys() - set(Limits.__struct_fields__)
            if unknown:
                raise InputError(
                    f"It sets {', '.join(sorted(unknown))}, which do not exist.",
                    "Check the spelling.",
                )
            settings = msgspec.convert(table, ServiceSettings)
            settings.check()
            return settings
        except InputError as error:
            raise InputError(f"{path}: {error.what}", error.remedy) from error
        except (OSError, ValueError, AttributeError, msgspec.ValidationError) as error:
            raise InputError(
                f"{path} cannot be used: {error}.", "Correct it or delete it."
            ) from error
