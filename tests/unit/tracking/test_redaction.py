from __future__ import annotations

import os
from collections import UserDict
from pathlib import Path

import pytest

from autockd.config.loading import parse_study
from autockd.errors import ConfigError
from autockd.records import Exported, Noted, StudyStarted, TrialOutcome
from autockd.tracking.redaction import is_secret, redact, redact_record, redact_value, secret_fields, without_secrets

CANARY = "c4nary-Hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"http://ada:{CANARY}@mlflow.example:5000/path",
        f"http://{CANARY}@mlflow.example",
        f"http://ada:My@{CANARY}@mlflow.example:5000/path",
        f"http://ada@home:pw@{CANARY}@mlflow.example",
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC%7D%3BUID%3Dsa%3BPWD%3D{CANARY}",
        f"postgresql+psycopg2://ada:{CANARY}/x@db/mlflow",
        f"GET https://host/api?user=ada&token={CANARY}&x=1",
        f"https://bucket/file?X-Amz-Signature={CANARY}",
        f"https://host/?api_key={CANARY}#top",
        f"Authorization: Bearer {CANARY}",
        f"headers={{'Authorization': 'Basic {CANARY}'}}",
        f"failed: password={CANARY}, retrying",
        f"tracking:\n  password: '{CANARY} {CANARY}'\n  uri: x",
        f'{{"apiKey": "{CANARY}"}}',
        f"config: secret_key = {CANARY}",
        f"HF_TOKEN={CANARY}",
        f"ConnectionError: http://ada:{CANARY}@host and sqlite:///x.db?password={CANARY}",
        f"weights: /studies/https:/ada:{CANARY}@hub/teacher.safetensors is not a file",
        f"hf_{CANARY.replace('-', '')}0123456789",
        f"fetch with ghp_{CANARY.replace('-', '')}0123456789, then go on",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"the message was cut: -----BEGIN PRIVATE KEY-----\n{CANARY}",
        f"curl -H 'authorization: bearer {CANARY}'",
        f"curl -H 'Authorization: Token {CANARY}0123456789'",
        f"key sk-ant-api03-{CANARY}-{'aB3_' * 20}",
        f"key sk-proj-{'aB3_' * 10}-{CANARY}",
        f"DefaultEndpointsProtocol=https;AccountName=ada;AccountKey={CANARY}",
        f"eyJhbGciOiJI{CANARY}.eyJzdWIiOiIx.{CANARY}",
    ],
)
def test_credentials_go(text: str) -> None:
    clean = redact(text)
    assert "c4nary" not in clean
    assert "***" in clean


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////studies/mlflow.db",
        "https://huggingface.co/datasets/uoft-cs/cifar10",
        "http://127.0.0.1:5000/#/experiments/1/runs?compareRunsMode=CHART&viewStateShareKey=view",
        "smoothing_start: 20, learning_rate=0.2, tokenizer: bert-base, max_tokens = 128",
        "loss is nan at epoch 3: lower learning_rate",
        "git@github.com:someone/something.git",
        "models:/resnet@champion, mlflow models serve -m models:/a.b@champion",
        "https://host/?path=a%20b%2Fc&name=x%3Dy",
        "teacher.safetensors of sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sk-learn digits, hf_hub and ghp_x",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_what_surrounds_a_credential_stays() -> None:
    assert redact("http://ada:pw@host:5000/x?a=1&token=t&b=2") == "http://***@host:5000/x?a=1&token=***&b=2"
    assert redact('{"password": "abc", "depth": 8}') == '{"password": "***", "depth": 8}'


def test_values_of_secret_variables_go_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correcthorse")
    monkeypatch.setenv("SHORT_TOKEN", "digits")
    monkeypatch.setenv("LEAST_TOKEN", "8letters")
    monkeypatch.setenv("HOME_OF_DATA", "batterystaple")
    text = "correcthorse said batterystaple of digits to 8letters"
    assert redact(text) == "*** said batterystaple of digits to ***"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[(name, True) for name in ("HF_TOKEN", "PGPASSWORD", "MYSQL_PWD", "KAGGLE_KEY", "GITHUB_PAT", "SSHPASS_AUTH")],
        *[(name, True) for name in ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "apitoken")],
        *[(name, False) for name in ("PWD", "OLDPWD", "TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "SSH_AUTH_SOCK")],
        *[(name, False) for name in ("HOME", "SECRETS_DIR", "TOKENIZERS_PARALLELISM", "KEYBOARD", "LANG")],
    ],
)
def test_which_variables_are_secret(name: str, secret: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "batterystaple")
    assert redact("correct batterystaple") == ("correct ***" if secret else "correct batterystaple")


def test_a_password_with_an_at_sign_in_the_environment_goes_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:correct@horse@mlflow.example:5000")
    assert redact("refused: correct@horse") == "refused: ***"


def test_passwords_in_uris_of_the_environment_go_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE", "postgresql+psycopg2://ada:correcthorse@db/studies")
    assert redact("FATAL: no such user with correcthorse") == "FATAL: no such user with ***"


def test_a_secret_goes_in_its_percent_encoding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "correct/horse+")
    assert redact("PUT /bucket/correct%2Fhorse%2B/x") == "PUT /bucket/***/x"


def test_the_environment_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact("correcthorse") == "correcthorse"
    monkeypatch.setenv("HF_TOKEN", "correcthorse")
    assert redact("correcthorse") == "***"
    monkeypatch.delenv("HF_TOKEN")
    assert redact("correcthorse") == "correcthorse"


def test_a_secret_within_a_secret_leaves_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_SECRET", "abcdefgh-ijklmnop")
    assert redact("x abcdefgh-ijklmnop y") == "x *** y"


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("password", True),
        ("tracking.api_key", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("accessToken", True),
        ("AccountKey", True),
        ("apikey", True),
        ("Authorization", True),
        ("tokenizer", False),
        ("max_tokens", False),
        ("key", False),
        ("trial_key", False),
        ("learning_rate", False),
    ],
)
def test_which_keys_are_secret(key: str, secret: bool) -> None:
    assert is_secret(key) is secret


def test_values_are_walked_through() -> None:
    config = {
        "tracking": {"uri": f"http://ada:{CANARY}@host", "token": CANARY, "enabled": True},
        "space": [{"low": 0.1, "password": 12345678}],
        "pair": (f"https://h/?sig={CANARY}", 3),
        "secret": None,
    }
    clean = redact_value("", config)
    assert clean == {
        "tracking": {"uri": "http://***@host", "token": "***", "enabled": True},
        "space": [{"low": 0.1, "password": "***"}],
        "pair": ("https://h/?sig=***", 3),
        "secret": None,
    }
    assert CANARY in str(config)


def test_a_record_without_credentials_is_itself() -> None:
    note = Noted(time=1.0, kind="choice", text="2 trials at a time")
    outcome = TrialOutcome(state="failed", seconds=float("nan"), reason="the loss is nan")
    assert redact_record(note) is note
    assert redact_record(outcome) is outcome


def test_a_record_keeps_its_kind_and_loses_its_credentials(study: list[StudyStarted]) -> None:
    start = study[0].model_copy(update={"config": {"note": f"http://ada:{CANARY}@host", "seed": 3, "ends": (1, 2)}})
    clean = redact_record(start)
    assert isinstance(clean, StudyStarted)
    assert clean.config == {"note": "http://***@host", "seed": 3, "ends": (1, 2)}
    assert clean.provenance == start.provenance
    assert CANARY in start.config["note"]


def test_where_the_study_keeps_its_files_can_be_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "postgres")
    exported = Exported(time=1.0, trial=1, bundle="/home/postgres/studies/x/bundle", manifest_hash="ab")
    assert redact_record(exported) is exported


def test_fields_with_credentials_are_named() -> None:
    config = {
        "note": f"password={CANARY}",
        "seed": 1,
        "tracking": {"uri": f"http://{CANARY}@host", "enabled": True, "experiment": None},
        "search": {"enqueue": [{"a": 1}, {"password": CANARY}], "space": {"x": {"low": 0.1}}},
    }
    assert secret_fields(config) == ["note", "tracking.uri", "search.enqueue"]


def test_only_the_note_of_a_configuration_may_lose_its_credentials() -> None:
    """Without any other field's the field would be of no use, so the study is refused."""
    models = "teacher: {model: {family: cifar_resnet}}\nstudent: {model: {family: cifar_resnet, depth: 8}}"
    text = f"name: s\ntask: {{source: digits}}\n{models}\nnote: 'log in with password={CANARY}'\n"
    study = parse_study(text, "s.yaml", Path("/studies"))
    assert without_secrets(study) == study.model_copy(update={"note": "log in with password=***"})
    weights = f"teacher.model.weights=https://ada:{CANARY}@hub/teacher.safetensors"
    with pytest.raises(ConfigError) as caught:
        without_secrets(parse_study(text, "s.yaml", Path("/studies"), [weights]))
    assert [problem.field for problem in caught.value.problems] == ["teacher.model.weights"]
    assert CANARY not in str(caught.value)


def test_a_variable_that_another_thread_takes_away_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Vanishing(UserDict[str, str]):
        def __getitem__(self, name: str) -> str:
            raise KeyError(name)

        def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
            return default

    monkeypatch.setattr(os, "environ", Vanishing({"RAY_num_workers_soft_limit": "3"}))
    assert redact("a plain text") == "a plain text"
