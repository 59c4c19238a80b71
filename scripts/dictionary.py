"""Make service/dictionary.zstd, by which state values are packed: python -m scripts.dictionary.

It is a zstd dictionary of what the state of a WhatsApp login looks like: its text is the shapes of
the values with nothing in them, the most frequent last, and its entropy tables are trained on
made-up values of these shapes, in which all is random that is random in a real one. Values that
were packed need the very bytes of it: another one gets a number of its own, and stays beside it.
"""

import json
import random
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import zstandard

PATH = Path("service/dictionary.zstd")
SEED = 1
SAMPLES = 3_000
TRAINED_BYTES = 1_024
_FIRST_OFFSETS = b"".join(offset.to_bytes(4, "little") for offset in (1, 4, 8))
"""What ends the tables of a dictionary: behind it stands its text."""

Text = Callable[[int], str]
"""Base64 of so many bytes."""

Number = Callable[[int], int]
"""A whole number below another."""

Shape = Callable[[Text, Number], object]


def _buffer(data: str) -> object:
    return {"type": "Buffer", "data": data}


def pre_key(text: Text, _: Number) -> object:
    """Return a pair of keys."""
    return {"public": _buffer(text(32)), "private": _buffer(text(32))}


def session(text: Text, number: Number) -> object:
    """Return a session with one other device."""
    base, at = text(33), 1_700_000_000_000
    ratchet = {
        "ephemeralKeyPair": {"pubKey": text(33), "privKey": text(32)},
        "lastRemoteEphemeralKey": text(33),
        "previousCounter": number(40),
        "rootKey": text(32),
    }
    index = {
        "baseKey": base,
        "baseKeyType": 1 + number(2),
        "closed": -1,
        "used": at + number(10**11),
        "created": at + number(10**11),
        "remoteIdentityKey": text(33),
    }
    chain = {"counter": number(30), "key": text(32)}
    one = {
        "registrationId": number(16_384),
        "currentRatchet": ratchet,
        "indexInfo": index,
        "_chains": {text(33): {"chainKey": chain, "chainType": 2, "messageKeys": {}}},
        "pendingPreKey": {"signedKeyId": 1, "baseKey": text(33), "preKeyId": number(900)},
    }
    return {"_sessions": {base: one}, "version": "v1"}


def sender_key(text: Text, number: Number) -> object:
    """Return what a member of a group writes with."""
    chain = {"iteration": number(100), "seed": _buffer(text(32))}
    signing = {"public": _buffer(text(33)), "private": _buffer(text(32))}
    return [
        {
            "senderKeyId": number(2**31),
            "senderChainKey": chain,
            "senderSigningKey": signing,
            "senderMessageKeys": [],
        }
    ]


def sync_key(text: Text, number: Number) -> object:
    """Return a key of the state that devices share."""
    print_ = {"rawId": number(2**31), "currentIndex": number(10), "deviceIndexes": [0, 1]}
    timestamp = str(1_700_000_000_000 + number(10**11))
    return {"keyData": text(32), "fingerprint": print_, "timestamp": timestamp}


def credentials(text: Text, number: Number) -> object:
    """Return what a device says who it is with."""
    signed = {"keyPair": pre_key(text, number), "signature": _buffer(text(64)), "keyId": 1}
    return {
        "noiseKey": pre_key(text, number),
        "pairingEphemeralKeyPair": pre_key(text, number),
        "signedIdentityKey": pre_key(text, number),
        "signedPreKey": signed,
        "registrationId": number(16_384),
        "advSecretKey": text(32),
        "processedHistoryMessages": [],
        "nextPreKeyId": 813,
        "firstUnuploadedPreKeyId": 813,
        "accountSyncCounter": 0,
        "accountSettings": {"unarchiveChats": False},
        "account": {"details": text(330), "accountSignatureKey": text(32)},
        "me": {"id": f"{number(10**12)}:7@s.whatsapp.net", "name": "~", "lid": "@lid"},
        "signalIdentities": [{"identifier": {"name": "", "deviceId": 0}}],
        "platform": "android",
        "myAppStateKeyId": text(5),
    }


SHAPES: tuple[tuple[Shape, int], ...] = (
    (credentials, 30),
    (sync_key, 10),
    (session, 4),
    (sender_key, 5),
    (pre_key, 1),
)
"""The least frequent first; of each the SAMPLES are divided by its number."""


def _written(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _empty(size: int) -> str:
    return "=" * (-size % 3)


def made() -> bytes:
    """Return the dictionary: the same bytes with the same release of zstd."""
    dice = random.Random(SEED)  # noqa: S311 # data, not a secret

    def text(size: int) -> str:
        return b64encode(dice.randbytes(size)).decode()

    samples: list[bytes | bytearray | memoryview] = [
        _written(shape(text, dice.randrange))
        for shape, rarity in SHAPES
        for _ in range(SAMPLES // rarity)
    ]
    trained = zstandard.train_dictionary(
        TRAINED_BYTES, samples, dict_id=1 << 15, level=3
    ).as_bytes()
    tables, _, _ = trained.partition(_FIRST_OFFSETS)
    texts = (_written(shape(_empty, lambda _: 0)) for shape, _ in SHAPES)
    return b"".join((tables, _FIRST_OFFSETS, *texts))


if __name__ == "__main__":
    PATH.write_bytes(made())
