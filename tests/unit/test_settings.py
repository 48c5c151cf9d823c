"""Settings: read once, refused when misspelt, silent about secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Invalid
from core.settings import CLIENT_VARIABLES, Settings, load_settings, variable_of


def test_defaults_need_no_environment() -> None:
    """An empty environment gives the defaults, and development."""
    settings = load_settings({})
    assert settings == Settings()
    assert settings.environment == "development"
    assert settings.redis_url is None


def test_environment_is_read_and_overrides_win() -> None:
    """Variables set fields, empty ones count as absent, and overrides win over both."""
    environ = {"REDIS_URL": "redis://h/0", "MOONSAND_PORT": "9", "MOONSAND_HOST": "", "HOME": "/x"}
    settings = load_settings(environ, slots=3, host=None)
    assert (settings.redis_url, settings.port, settings.slots) == ("redis://h/0", 9, 3)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("MOONSAND_SLOT", "MOONSAND_SLOTS"),
        ("MOONSAND_RESULT_TTL", "MOONSAND_RESULT_TTL_S"),
        ("MOONSAND_REDIS_URL", "REDIS_URL"),
    ],
)
def test_unknown_variable_refuses_with_nearest_name(variable: str, near: str) -> None:
    """A misspelt variable stops the start and names the one that was meant."""
    with pytest.raises(Invalid) as refused:
        load_settings({variable: "1"})
    assert str(refused.value) == f"unknown setting {variable}; did you mean {near}?"


def test_client_variables_are_not_settings_and_are_let_through() -> None:
    """What only the client commands read does not stop the service."""
    assert load_settings(dict.fromkeys(CLIENT_VARIABLES, "x")) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MOONSAND_PORT", "65536"),
        ("MOONSAND_SLOTS", "0"),
        ("MOONSAND_SLOTS", "2.5"),
        ("MOONSAND_ENVIRONMENT", "prod"),
        ("MOONSAND_LOG_LEVEL", "loud"),
        ("REDIS_URL", "http://user:hunter2@host"),
    ],
)
def test_bad_value_names_the_variable_and_hides_the_value(variable: str, value: str) -> None:
    """A value out of range is refused under its variable's name, without the value itself."""
    with pytest.raises(Invalid) as refused:
        load_settings({variable: value})
    assert str(refused.value).startswith(f"{variable}: ")
    assert "hunter2" not in str(refused.value)


def test_settings_are_frozen_and_hide_the_redis_password() -> None:
    """Settings do not change after the start, and printing them shows no password."""
    settings = Settings(redis_url="redis://:hunter2@host/0")
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_every_setting_is_documented() -> None:
    """Every field stands in docs/configuration.md with its variable and its default."""
    text = Path("docs/configuration.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if "| `" in line}
    for name, field in Settings.model_fields.items():
        row = rows[variable_of(name)]
        assert field.description is not None
        assert field.description in row
        shown = "none" if field.default is None else str(field.default)
        if field.default_factory is not None:  # it depends on the host
            shown = "8 a processor"
        assert f"| `{shown}` |" in row
    assert set(rows) == {variable_of(name) for name in Settings.model_fields} | CLIENT_VARIABLES
