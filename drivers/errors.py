"""What can go wrong on a wire: one class per reaction of the link worker."""


class DriverError(Exception):
    """Base of everything a driver raises on purpose. The text names device, block and code."""

    cause = "error"
    """One word for counters."""


class LinkDown(DriverError):
    """The wire is gone (unplugged, refused, reset). Every device on it is stale: reconnect with growing delay."""

    cause = "link_down"


class NoAnswer(DriverError):
    """The device stayed silent. The wire is fine: try the next device, come back to this one later."""

    cause = "no_answer"


class BadFrame(DriverError):
    """Bytes came, but they make no sense. Drop the input, retry once, count."""

    cause = "bad_frame"


class Refused(DriverError):
    """The device said no. Retrying changes nothing: look at the profile or at the device."""

    cause = "refused"

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
