"""The one way in which a simulated site does not start."""


class SimulatorError(Exception):
    """The simulated site cannot be played; the sentence names the place in the site file and what to do."""
