"""Keeps credentials out of all that is written down: the record, params, tags, artifacts, messages, tracebacks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, unquote_plus

from pydantic import BaseModel

from autockd.config.schema import StudyConfig
from autockd.errors import ConfigError, Problem

SomeRecord = TypeVar("SomeRecord", bound=BaseModel)

MASK = "***"

_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "token", "secret", "secrets", "credential", "credentials"}
    | {"authorization", "apikey"}
)
_SECRET_PAIRS = ("api_key", "access_key", "private_key", "secret_key", "account_key")
_QUERY_WORDS = frozenset({"key", "sig", "signature", "auth", "code"})

_SECRET_VARIABLE = re.compile(r"(?:PASSWORD|PASSWD|SECRET|TOKEN|APIKEY|(?:^|_)(?:KEY|AUTH|PAT|PASS))$")
"""Variables that hold a credential, beside those whose names are secret anywhere: PGPASSWORD, KAGGLE_KEY."""
_POINTER = re.compile(r"(?:^|_)(?:FILE|PATH|DIR|FOLDER|SOCK)$|^(?:OLD)?PWD$")
"""Variables that say where something is; PWD and OLDPWD are every shell's."""
_MIN_ENV_LENGTH = 8
"""Shorter values of the environment are too likely to be ordinary words."""

_PLACE = "bundle"
"""A field of records that says where in the study's folder something is, and must be found again."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Up to the last @, for a password may hold one. One slash alone is what a URI has left after a detour through a path;
# `models:/name@alias` is how MLflow names a version.
_USER_INFO = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:(?<!models:)/{1,2})(?:[^\s/?#'\"]*|[^\s/:@'\"]+:[^\s'\"]*)@"
)
_QUERY = re.compile(r"(?P<lead>[?&;])(?P<key>[\w.%-]+)=(?P<value>[^&;#\s'\"]+)")
_HEADER = re.compile(
    r"(?P<scheme>\b(?:Bearer|Basic|Authorization[\"']?\s*:\s*[\"']?[\w-]+))\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE
)
_ASSIGNMENT = re.compile(
    r"(?P<key>\b[A-Za-z][\w.-]*)(?P<mark>[\"']?\s*[:=]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&{}\[\]]+)"
)
_WELL_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{20,}|gh[opsru]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{32,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)
"""Tokens that tell by their shape whose they are: Hugging Face, GitHub, GitLab, OpenAI, Anthropic, AWS, Slack, JSON web
tokens."""
_PRIVATE_KEY = re.compile(r"(?P<begin>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?P<end>-----END|\Z)", re.DOTALL)
_PASSWORD_IN_URI = re.compile(r"://[^\s/:@]*:(?P<password>[^\s/]+)@")


@lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Whether a key, variable or field of this name holds a credential: `HF_TOKEN` does, `tokenizer` does not."""
    words = [word for word in re.split(r"[^a-z0-9]+", _CAMEL.sub("_", key).lower()) if word]
    joined = f"_{'_'.join(words)}_"
    return bool(_SECRET_WORDS.intersection(words)) or any(f"_{pair}_" in joined for pair in _SECRET_PAIRS)


def redact(text: str) -> str:
    """The text with every credential in it replaced by `***`.

    Covers `user:password@` in URIs, tokens in query strings, authorization headers, `password = ...` and the like,
    tokens of well-known shape, private keys, and the values of environment variables whose names look secret (8
    characters or more), also where they are percent-encoded.
    """
    for value in _secrets_of(_environment()):
        text = text.replace(value, MASK)
    text = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _QUERY.sub(_redact_query, text)
    text = _HEADER.sub(rf"\g<scheme> {MASK}", text)
    text = _PRIVATE_KEY.sub(rf"\g<begin>{MASK}\g<end>", text)
    text = _WELL_KNOWN.sub(MASK, text)
    return _redact_assignments(text)


def without_user(uri: str) -> str:
    """A URI without `user:password@`: two users of a server use one server."""
    return _USER_INFO.sub(r"\g<scheme>", uri)


def redact_value(key: str, value: Any) -> Any:
    """A value that stands under `key`, without credentials; mappings and sequences are walked through.

    Booleans and None come back as they are, and so do numbers, unless the key itself is secret.
    """
    if isinstance(value, Mapping):
        return {name: redact_value(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redact_value(key, inner) for inner in value)
    if is_secret(key) and value is not None and not isinstance(value, bool):
        return MASK
    return redact(value) if isinstance(value, str) else value


def redact_record(record: SomeRecord) -> SomeRecord:
    """A record without credentials: itself, where it holds none. Where the study keeps its files is left as it is."""
    data = record.model_dump()
    clean = {key: value if key == _PLACE else redact_value(key, value) for key, value in data.items()}
    return record if clean == data else record.model_validate(clean)


def secret_fields(data: Mapping[str, Any]) -> list[str]:
    """Dotted names of the values that hold a credential, such as `tracking.uri`."""
    return [name for name, key, value in _leaves(data) if redact_value(key, value) != value]


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Full name, own name and value of everything that is no mapping."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, str(key), value


def _environment() -> tuple[tuple[str, str], ...]:
    """Names and values of all variables; another thread may take some away meanwhile."""
    return tuple((name, value) for name in list(os.environ) if (value := os.environ.get(name)) is not None)


@lru_cache(maxsize=4)
def _secrets_of(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Credentials in environment variables, longest first, so that one that contains another goes as a whole."""
    found = {value for name, value in environment if _is_secret_variable(name)}
    found |= {match["password"] for _, value in environment for match in _PASSWORD_IN_URI.finditer(value)}
    found = {value for value in found if len(value) >= _MIN_ENV_LENGTH}
    found |= {quote(value, safe="") for value in found}
    return tuple(sorted(found, key=len, reverse=True))


def _is_secret_variable(name: str) -> bool:
    if _POINTER.search(name.upper()):
        return False
    return is_secret(name) or _SECRET_VARIABLE.search(name.upper()) is not None


def _redact_query(match: re.Match[str]) -> str:
    key, value = match["key"], unquote_plus(match["value"])
    secret = is_secret(key) or not _QUERY_WORDS.isdisjoint(re.split(r"[^a-z]+", key.lower()))
    secret = secret or (value != match["value"] and redact(value) != value)  # as of `odbc_connect`
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


def without_secrets(config: StudyConfig) -> StudyConfig:
    """The configuration as it may be written down: its note without credentials.

    Raises:
        ConfigError: another field holds a credential, and without it the field would be of no use.
    """
    problem = (
        "holds a credential (or what looks like one in the environment), which would be written down with the study"
    )
    fields = [field for field in secret_fields(config.model_dump(mode="json")) if field != "note"]
    if fields:
        remedy = "take it out; credentials come from the environment alone"
        raise ConfigError([Problem(field, problem, remedy) for field in fields])
    return config.model_copy(update={"note": redact(config.note)})
