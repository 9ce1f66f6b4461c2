"""Why a broker connection failed, as a sentence that says what to do."""

from __future__ import annotations

import ssl

from aiomqtt import MqttCodeError
from paho.mqtt.reasoncodes import ReasonCode

_CODES = {
    132: 'the broker does not speak this MQTT version: try version "3.1.1"',
    133: "the broker refuses the client_id",
    134: "the broker refuses the credentials: check username and password",
    135: "the broker refuses the credentials: check username and password",
    138: "the broker has banned this client",
    141: "nothing came through within the keep-alive time: does the network still lead to the broker?",
    142: "another client connected with our client_id: every client on a broker needs its own",
}
"""CONNACK and DISCONNECT codes of MQTT 5; paho translates those of 3.1.1."""
_TEXTS = {
    "CERTIFICATE_VERIFY_FAILED": "the broker's certificate is not trusted: check ca_file and the host name",
    "CERTIFICATE_REQUIRED": "the broker wants a certificate from us: set cert_file and key_file",
    "WRONG_VERSION_NUMBER": "there is no TLS on this port: check port and tls",
    "RECORD_LAYER_FAILURE": "there is no TLS on this port: check port and tls",
    "Connection refused": "connection refused: is the broker running, is the port right?",
    "Name or service not known": "the host name is not known",
    "Temporary failure in name resolution": "the host name cannot be looked up now: check DNS and network",
    "Operation timed out": "no answer to our request: is this an MQTT port, does it want TLS?",
    "timed out": "no connection within the time-out: check host, port and network",
}
"""Parts of error texts. ssl errors reach us as text only, because aiomqtt keeps nothing else of them."""


def reason(error: BaseException) -> str:
    """Return what happened and what to do about it; the broker's or system's own words in brackets."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if isinstance(error, MqttCodeError):
        if isinstance(error.rc, ReasonCode):
            text = str(error.rc)
            if error.rc.value in _CODES:
                return f"{_CODES[error.rc.value]} ({text})"
        # Many brokers, mosquitto among them, do not tell the loser of a fight over one client id.
        return f"the connection was lost ({text}); if that repeats, look for another client with our client_id"
    for part, sentence in _TEXTS.items():
        if part.lower() in text.lower():
            return f"{sentence} ({text})"
    if isinstance(error, ssl.SSLError):
        return f"the TLS files cannot be used ({text})"
    return text or type(error).__name__
