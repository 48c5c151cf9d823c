"""The accounts file: strict, and silent about values."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Invalid, NotFound
from integrations.accounts import Accounts, AccountsFile
from tests.shipped import CATALOG

CANARY = "canary-4f1d9c"


def parsed(text: str, environ: dict[str, str] | None = None) -> AccountsFile:
    """Take accounts from a text."""
    return AccountsFile.parse(text, CATALOG, environ or {})


def problem(text: str) -> str:
    """Give what is wrong with a text; the canary is in none of it."""
    with pytest.raises(Invalid) as caught:
        parsed(text)
    assert CANARY not in repr(caught.value)
    assert CANARY not in caught.value.detail
    assert caught.value.__cause__ is None
    return caught.value.detail.removeprefix("accounts file accounts: ")


def account(name: str = "default", **more: str) -> str:
    """Give the section of one account."""
    fields = {"token_id": '"id"', "token_secret": f'"{CANARY}"', **more}
    return f"[mux.{name}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


class TestReading:
    def test_local_runs_and_development_have_the_top_of_the_file(self) -> None:
        """Other tenants have their own section and nothing of anybody else's."""
        file = parsed(account() + account("production").replace("[mux", "[tenants.acme.mux"))
        assert file.for_tenant(None).names("mux") == ["default"]
        assert file.for_tenant("development").names("mux") == ["default"]
        assert file.for_tenant("acme").names("mux") == ["production"]
        assert file.for_tenant("other").names("mux") == []

    def test_default_is_listed_first(self) -> None:
        """Names come in a fixed order."""
        file = parsed(account("a") + account("default") + account("b"))
        assert file.for_tenant(None).names("mux") == ["default", "a", "b"]

    def test_values_come_from_the_environment(self) -> None:
        """`{ env = "NAME" }` names a variable; space around its value is dropped."""
        file = parsed(account(token_secret='{ env = "S" }'), {"S": f" {CANARY}\n"})
        credentials = file.for_tenant(None).get("mux", "default")
        assert credentials.reveal("token_secret") == CANARY

    def test_a_variable_that_is_no_text_is_refused(self) -> None:
        """Bytes that are not UTF-8 could be put into no request."""
        text = account(token_secret='{ env = "ODD" }')
        with pytest.raises(Invalid, match=r"mux\.default\.token_secret: must be text in UTF-8"):
            parsed(text, {"ODD": f"{CANARY}\udcff"})

    def test_basic_auth_takes_any_text(self) -> None:
        """It is encoded before it becomes a header."""
        accounts = parsed(account(token_secret='"\u00e9\U0001f600"')).for_tenant(None)
        assert accounts.get("mux", "default").reveal("token_secret") == "\u00e9\U0001f600"

    def test_other_spellings_of_fields_are_accepted(self) -> None:
        """`access_token_id` and `access_token_secret` are what other tools call them."""
        text = f'[mux.default]\naccess_token_id = "id"\naccess_token_secret = "{CANARY}"\n'
        credentials = parsed(text).for_tenant(None).get("mux", "default")
        assert (credentials.reveal("token_id"), credentials.secrets()) == ("id", [CANARY])

    def test_nothing_shows_a_secret(self) -> None:
        """Neither `repr` nor `str` of anything that holds one."""
        file = parsed(account())
        credentials = file.for_tenant(None).get("mux", "default")
        shown = f"{credentials!r} {credentials} {credentials.values} {file!r} {vars(file)}"
        assert CANARY not in shown
        assert "Secret(***)" in shown

    def test_a_missing_account_names_those_there_are(self) -> None:
        """The message is for the author of the script."""
        with pytest.raises(NotFound) as caught:
            parsed(account("production")).for_tenant(None).get("mux", "producton")
        assert caught.value.detail == "mux has no account `producton`; configured: production"
        assert caught.value.hint == "Did you mean: production?"
        with pytest.raises(NotFound, match="mux has no account `default`; none is configured"):
            Accounts().get("mux", "default")

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        """`load` takes a path; an error names the file without its folder."""
        path = tmp_path / "mine.toml"
        path.write_text(account())
        assert AccountsFile.load(path, CATALOG, {}).for_tenant(None).names("mux") == ["default"]
        with pytest.raises(Invalid, match=r"^accounts file none\.toml: No such file"):
            AccountsFile.load(tmp_path / "none.toml")
        path.write_bytes(b'a = "\xff"')
        with pytest.raises(Invalid, match=r"^accounts file mine\.toml: not UTF-8$"):
            AccountsFile.load(path)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[muxx.default]\n", "muxx: not an integration with accounts. Did you mean: mux?"),
            ("[docs.default]\n", "docs: not an integration with accounts."),
            ("mux = 1\n", "mux: must be a table"),
            ("[mux]\ndefault = 1\n", "mux.default: must be a table"),
            ('[mux.default]\ntoken_id = "id"\n', "mux.default.token_secret: is missing"),
            (account(token_id="5"), 'mux.default.token_id: must be a string or { env = "NAME" }'),
            (account(token_id='""'), "mux.default.token_id: must not be empty nor have control"),
            (account(token_secret='"a\\nb"'), "mux.default.token_secret: must not be empty nor"),
            (
                f'[heygen.default]\napi_key = "{CANARY}\u00e9"\n',
                "heygen.default.api_key: must be ASCII",
            ),
            (f'[convex.a]\ndeploy_key = "{CANARY}\u2028x"\n', "convex.a.deploy_key: must be ASCII"),
            (account(token_id='"a:b"'), "mux.default.token_id: must not have a colon"),
            (account(token_id='{ env = "NO" }'), "mux.default.token_id: the environment variable"),
            (account(token_id='{ file = "x" }'), "mux.default.token_id: a table here must be"),
            (account(secret='"x"'), "mux.default.secret: unknown field."),
            (account(access_token_id='"x"'), "mux.default.access_token_id: `token_id` is given"),
            (account("__index"), "mux.__index: an account name is lower-case letters"),
            (account("end"), "mux.end: an account name is lower-case letters"),
            (account("get_asset"), "mux.get_asset: an account must not be called like a function"),
            (account("mux_get_asset"), "mux.mux_get_asset: an account must not be called like"),
            ("[tenants.development.mux.a]\n", "tenants.development: not a tenant name"),
            ("[tenants.Acme.mux.a]\n", "tenants.Acme: not a tenant name"),
            (f"[mux.default\ntoken = {CANARY}\n", "not TOML at line 1, column 13"),
            (f'[mux.default]\na = "{CANARY}', "not TOML"),
        ],
    )
    def test_the_key_is_named_and_never_the_value(self, text: str, expected: str) -> None:
        """Every error says where in the file, and nothing of what stands there."""
        assert problem(text).startswith(expected)

    @pytest.mark.parametrize(
        "url",
        [
            *("http://api.mux.com", "http://10.0.0.1", "ftp://127.0.0.1", "//127.0.0.1", "x"),
            *("https://user@host", "https://host/?a=1", "https://host/#a", "https://host/../x"),
            *("https://", "https://host:0", "https://host:99999", "https://ho st", "https://h\\x"),
            *("https://hóst", "http://127.0.0.1.evil.example", "http://localhost.evil.example"),
        ],
    )
    def test_credentials_go_only_to_a_fit_address(self, url: str) -> None:
        """HTTPS, or this machine itself; nothing but scheme, host, port and path."""
        escaped = url.replace("\\", "\\\\")
        assert problem(account(base_url=f'"{escaped}"')).startswith("mux.default.base_url: ")

    @pytest.mark.parametrize(
        "url",
        ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:2", "https://host/path"],
    )
    def test_fit_addresses(self, url: str) -> None:
        """The vendor's own kind, and this machine."""
        credentials = parsed(account(base_url=f'"{url}/"')).for_tenant(None).get("mux", "default")
        assert credentials.reveal("base_url") == url
