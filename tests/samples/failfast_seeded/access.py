"""Who may use the till."""

import hashlib

ROUNDS = 150_000  # a password's key is dear on purpose


def key(password: str) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", ROUNDS)
