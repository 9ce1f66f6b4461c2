"""What can go wrong on a wire: one class per reaction of the link worker."""


class DriverError(Exception):
    """Base of everything a driver raises on purpose. The text names device, block and code."""


class LinkDown(DriverError):
    """The wire is gone (unplugged, refused, reset). Every device on it is stale: reconnect with growing delay."""


class NoAnswer(DriverError):
    """The device stayed silent. The wire is fine: try the next device, come back to this one later."""


class BadFrame(DriverError):
    """Bytes came, but they make no sense. Drop the input, retry once, count."""


class Refused(DriverError):
    """The device said no. Retrying changes nothing: look at the profile or at the device."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
