"""SM4 data areas of HJ 212-2025 (clause 6.4, reported): ECB, whole blocks only, what is left over stays clear."""

from __future__ import annotations

BLOCK = 16


def encrypt(area: bytes, key: bytes) -> bytes:
    """Return a data area as it travels: its whole 16-byte blocks enciphered. ``key`` has 16 bytes."""
    return _apply(area, key, encrypting=True)


def decrypt(area: bytes, key: bytes) -> bytes:
    """Inverse of ``encrypt``."""
    return _apply(area, key, encrypting=False)


def _apply(area: bytes, key: bytes, *, encrypting: bool) -> bytes:
    # Loaded by the first encrypted packet only: no other station needs it.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.SM4(key), modes.ECB())  # noqa: S305  # what the standard asks for
    whole = len(area) // BLOCK * BLOCK
    step = cipher.encryptor() if encrypting else cipher.decryptor()
    return step.update(area[:whole]) + area[whole:]
