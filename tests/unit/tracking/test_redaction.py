from __future__ import annotations

import pytest

from autockd.tracking.redaction import is_secret, redact, redact_value

CANARY = "c4nary-Hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"http://ada:{CANARY}@mlflow.example:5000/path",
        f"http://{CANARY}@mlflow.example",
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
    ],
)
def test_credentials_go(text: str) -> None:
    clean = redact(text)
    assert CANARY not in clean
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
    monkeypatch.setenv("HOME_OF_DATA", "batterystaple")
    text = "correcthorse said batterystaple of digits"
    assert redact(text) == "*** said batterystaple of digits"


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
