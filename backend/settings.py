"""What the owner of a service may set, in ``service.toml`` of its folder; every value has a
default."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

import msgspec

from restage4d.errors import InputError
from restage4d.protocol.messages import Limits

_RANGES = {
    "keep_days": (1, 36500),
    "keep_gigabytes": (1, 1e6),
    "slots": (1, 1024),
    "attempts": (1, 1000),
    "memory_gigabytes": (0.1, 1024),
}


@dataclass(frozen=True)
class ServiceSettings:
    """Retention, queueing and limits.

    Attributes:
        keep_days: ended jobs and unused uploads older than this are deleted.
        keep_gigabytes: beyond this the oldest ended jobs go first.
        slots: jobs at a time on a machine without a GPU, or on a Ray cluster; a GPU takes one job
            at a time.
        attempts: how often a job whose process ended by itself is started.
        memory_gigabytes: of the service itself; beyond it all connections are dropped and made
            anew.
        limits: what clients may send, see `restage4d.protocol.messages.Limits`.
    """

    keep_days: float = 30.0
    keep_gigabytes: float = 100.0
    slots: int = 1
    attempts: int = 4
    memory_gigabytes: float = 2.0
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
            if getattr(self.limits, name) < 1:
                raise InputError(
                    f"{name} = {getattr(self.limits, name)} is below 1.",
                    f"The default is {getattr(Limits(), name)}.",
                )

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
