"""Keys: where they come from, which host may see them, and how they stay out of every message."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace

from autointerp.clients.spec import ModelSpec
from autointerp.errors import ClientError
from autointerp.records import Failure

KEY_SHAPED = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_*.-]{4,}")
USERINFO = re.compile(r"(?<=://)[^/\s'\"@]+@")
"""What a message of a proxy may hold of its address: a name and a password."""


def find_key(spec: ModelSpec, api_key: str | None) -> str | None:
    """The key to send for ``spec``: the explicit one, or the environment's, for the host that it belongs to.

    Raises
    ------
    ClientError : the provider's own host is meant and its variable is not set; or the key cannot be one.
    """
    backend = spec.backend
    own, other = getattr(backend, "key_variable", None), getattr(backend, "url_key_variable", None)
    variable = own if spec.url is None else other
    key = (api_key if api_key is not None else os.environ.get(variable, "") if variable else "").strip()
    if not key:
        if spec.url is None and own:
            raise ClientError(f"{spec.name} needs a key: set {own} (or pass api_key= to connect)")
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ClientError(f"the key for {spec.name} holds characters that no key has; check {variable or 'api_key='}")
    return key


def account_of(spec: ModelSpec, key: str | None) -> tuple[str, str | None, str, str]:
    """What a provider counts requests against: itself, its address, the account (a digest of the key) and the model."""
    return spec.provider, spec.url, hashlib.sha256((key or "").encode()).hexdigest(), spec.model


def redacted(failure: Failure, key: str | None) -> Failure:
    """``failure`` with the key, whatever looks like one, and passwords of addresses cut out of its message."""
    message = failure.message
    if key:
        message = message.replace(key, "***")
        # the message was shortened before it came here, perhaps inside the key
        ends = (n for n in range(len(key) - 1, 0, -1) if message.endswith(key[:n]))
        if (n := next(ends, 0)) > 3:
            message = message[:-n] + "***"
    message = USERINFO.sub("***@", KEY_SHAPED.sub("***", message))
    return failure if message == failure.message else replace(failure, message=message)
