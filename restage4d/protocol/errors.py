"""What can go wrong between a client and the service; each is a sentence and a remedy."""

from restage4d.errors import InputError


class WireError(InputError):
    """A request that could not be answered. ``code`` is one of `restage4d.protocol.messages.Code`,
    for programs."""

    def __init__(self, what: str, remedy: str, code: str = "internal") -> None:
        super().__init__(what, remedy)
        self.code = code


class NotRunning(WireError):
    """There is no connection file, or nobody answers at the address in it."""

    def __init__(self, what: str, remedy: str = "Start the service: restage4d serve.") -> None:
        super().__init__(what, remedy, "not_running")


class Refused(WireError):
    """The service knows neither this key nor this user."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy, "refused")


class WrongService(Refused):
    """Who answers at the address has not the key that the connection file names: the service was
    started anew, or another program took its port."""


class VersionMismatch(WireError):
    """Client and service speak different versions of the protocol."""

    def __init__(
        self, what: str, remedy: str = "Install the same version of Restage4D on both sides."
    ) -> None:
        super().__init__(what, remedy, "version")


class TimedOut(WireError):
    """The service is there but did not answer in time."""

    def __init__(
        self, what: str, remedy: str = "Try again; the service may be busy or the network slow."
    ) -> None:
        super().__init__(what, remedy, "timeout")
