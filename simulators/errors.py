"""What stops a simulated site from starting, and what keeps a simulated device from answering."""


class SimulatorError(Exception):
    """The simulated site cannot be played; the sentence names the place in the site file and what to do."""


class Silent(Exception):
    """The device says nothing at all: it has no power, or is just starting."""
