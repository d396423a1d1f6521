"""Keeps credentials out of everything that is logged: params, tags, artifacts, messages, tracebacks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "***"

_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "token", "secret", "secrets", "credential", "credentials"}
    | {"authorization", "apikey"}
)
_SECRET_PAIRS = ("api_key", "access_key", "private_key", "secret_key", "account_key")
_QUERY_WORDS = frozenset({"key", "sig", "signature", "auth", "code"})
_WORKING_FOLDERS = ("PWD", "OLDPWD")
"""Variables of every shell that look secret and are not."""

_MIN_ENV_LENGTH = 8
"""Shorter values of the environment are too likely to be ordinary words."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#@'\"]*|[^\s/:@'\"]+:[^\s'\"]*)@")
_QUERY = re.compile(r"(?P<lead>[?&;])(?P<key>[\w.%-]+)=(?P<value>[^&;#\s'\"]+)")
_HEADER = re.compile(r"(?P<scheme>\b(?:Bearer|Basic))\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"(?P<key>\b[A-Za-z][\w.-]*)(?P<mark>[\"']?\s*[:=]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&{}\[\]]+)"
)


def is_secret(key: str) -> bool:
    """Whether a key, variable or field of this name holds a credential: `HF_TOKEN` does, `tokenizer` does not."""
    words = [word for word in re.split(r"[^a-z0-9]+", _CAMEL.sub("_", key).lower()) if word]
    joined = f"_{'_'.join(words)}_"
    return bool(_SECRET_WORDS.intersection(words)) or any(f"_{pair}_" in joined for pair in _SECRET_PAIRS)


def redact(text: str) -> str:
    """The text with every credential in it replaced by `***`.

    Covers `user:password@` in URIs, tokens in query strings, authorization headers, `password = ...` and the like,
    and the values of environment variables whose names look secret (8 characters or more).
    """
    for value in _environment_secrets():
        text = text.replace(value, MASK)
    text = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _QUERY.sub(_redact_query, text)
    text = _HEADER.sub(rf"\g<scheme> {MASK}", text)
    return _redact_assignments(text)


def redact_value(key: str, value: Any) -> Any:
    """A value that stands under `key`, without credentials; mappings and sequences are walked through.

    Numbers, booleans and None come back as they are, unless the key itself is secret and the value is set.
    """
    if isinstance(value, Mapping):
        return {name: redact_value(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redact_value(key, inner) for inner in value)
    if is_secret(key) and value is not None and not isinstance(value, bool):
        return MASK
    return redact(value) if isinstance(value, str) else value


def _environment_secrets() -> Iterator[str]:
    """Longest first, so that a secret that contains another goes as a whole."""
    secret = {name: value for name, value in os.environ.items() if is_secret(name) and name not in _WORKING_FOLDERS}
    found = {value for value in secret.values() if len(value) >= _MIN_ENV_LENGTH}
    yield from sorted(found, key=len, reverse=True)


def _redact_query(match: re.Match[str]) -> str:
    key = match["key"]
    secret = is_secret(key) or not _QUERY_WORDS.isdisjoint(re.split(r"[^a-z]+", key.lower()))
    return f"{match['lead']}{key}={MASK}" if secret else match[0]


def _redact_assignments(text: str) -> str:
    """A value is looked through for further assignments, unless it is masked: `config: password=...`."""
    parts: list[str] = []
    start = 0
    while match := _ASSIGNMENT.search(text, start):
        parts.append(text[start : match.start("value")])
        start = match.start("value")
        if is_secret(match["key"]):
            quote = match["value"][0] if match["value"][0] in "\"'" else ""
            parts.append(f"{quote}{MASK}{quote}")
            start = match.end()
    return "".join([*parts, text[start:]])
