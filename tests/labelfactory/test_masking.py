"""No secret stands in a text for people: by the variable that holds it, by its place in an address, or by its name beside it."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.server.credentials import mask_logs
from labelfactory.console import printable, say, show
from labelfactory.dataset.left_out import LeftOut
from labelfactory.errors import DataError
from labelfactory.masking import masked, without_login

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "name",
    ["MY_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "LABELFACTORY_WEBHOOK", "API_AUTH", "SSH_PASSPHRASE",
     "SENTRY_DSN", "DSN", "GITHUB_PAT", "PAT", "pat", "AZURE_PAT_2", "SMTP_PASS", "MYSQL_PWD", "SERVICE_JWT",
     "GCP_CREDS", "SMTP_PW", "PGPASS", "PRIVATEKEY", "SSHKEY", "SESSION_COOKIE", "BEARER", "SLACK_HOOK"],
)  # fmt: skip
def test_values_of_secret_variables_are_hidden(monkeypatch, name):
    """Wherever they stand in a line, and of a login its halves too; a short or harmless value stays."""
    monkeypatch.setenv(name, "keeper:geheim1")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("LABELFACTORY_HARMLESS", "shown-all")
    assert masked("it is keeper:geheim1, or geheim1; abc shown-all") == "it is ***, or ***; abc shown-all"


@pytest.mark.parametrize(
    "name",
    ["PATH", "PYTHONPATH", "XPATH_HOME", "PATTERN", "LD_LIBRARY_PATH", "DISPATCH", "COMPASS", "PASSENGERS", "PWD", "OLDPWD",
     "GIT_AUTHOR_NAME", "XAUTHORITY", "HOME", "LABELFACTORY_DEVICE", "PATCHES",
     "MONKEY", "KEYBOARD", "PWB", "HOOKS_DIR", "COOKIECUTTER", "CREDO", "BEARERS", "PGPASSFILE"],
)  # fmt: skip
def test_values_of_other_variables_stay(monkeypatch, name):
    """A path that became *** in every line would be a loss and no gain."""
    monkeypatch.setenv(name, "/home/ann/project")
    assert masked("wrote /home/ann/project/data") == "wrote /home/ann/project/data"


def test_the_file_of_a_secret_is_no_secret(monkeypatch, tmp_path):
    """AWS_SHARED_CREDENTIALS_FILE names a file; an error about it must say which."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path))
    assert masked(f"{tmp_path}: not readable") == f"{tmp_path}: not readable"


@pytest.mark.parametrize("stored", [PEM, PEM.replace("\n", "\r\n"), PEM.replace("\n", "\\n")])
def test_each_line_of_a_secret_is_hidden(monkeypatch, stored):
    """Programs print line by line, indented, or as one string with escapes."""
    monkeypatch.setenv("SIGNING_KEY", stored)
    for text in (*PEM.splitlines(), repr(PEM), f"key: {PEM}", "\n".join(f"    {line}" for line in PEM.splitlines())):
        assert "MII" not in masked(text)
        assert "BAQE" not in masked(text)


def test_other_forms_of_a_secret_are_hidden(monkeypatch):
    """As an address, a header, JSON and Python write it; and a password that stands in the address of a variable."""
    monkeypatch.setenv("DB_PASSWORD", 'rose "bud"/é\\x')
    for text in ("rose%20%22bud%22%2F%C3%A9%5Cx", r"rose \"bud\"/\u00e9\\x", "cm9zZSAiYnVkIi/DqVx4"):
        assert masked(f"<{text}>") == "<***>"
    monkeypatch.setenv("DB_PASSWORD", "a/b <c>&'d\" ä")
    for text in ("a%2fb%20%3cc%3e%26%27d%22%20%c3%a4", "a%2Fb+%3Cc%3E%26%27d%22+%C3%A4", "a/b &lt;c&gt;&amp;&#x27;d&quot; ä",
                 "a/b &lt;c&gt;&amp;&#39;d&#34; ä", "a/b &lt;c&gt;&amp;'d\" ä", ascii("a/b <c>&'d\" ä")[1:-1],
                 repr("a/b <c>&'d\" ä".encode())[2:-1], "a/b%20%3Cc%3E%26%27d%22%20%C3%A4"):  # fmt: skip
        assert masked(f"[{text}]") == "[***]", text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:rose-bud@host/x")
    monkeypatch.setenv("ANYTHING", "https://ghp_0123456789@host/x")
    assert masked("refused: rose-bud and ghp_0123456789") == "refused: *** and ***"


def test_a_secret_that_is_set_later_is_hidden(monkeypatch):
    """`labelfactory up` puts the database's password into its environment after it has printed."""
    assert masked("bud-of-a-rose") == "bud-of-a-rose"
    monkeypatch.setenv("PGPASSWORD", "bud-of-a-rose")
    assert masked("bud-of-a-rose") == "***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+asyncpg://ann:pw@db/x", "postgresql+asyncpg://***@db/x"),
        ("https://ghp_token@github.com/a/b", "https://***@github.com/a/b"),
        ("https://:pw@host", "https://***@host"),
        ("postgresql://ann:p/w@db/x", "postgresql://***@db/x"),
        ("postgresql://ann:p@w/d?#@db/x", "postgresql://***@db/x"),
        ("postgresql://ann:12/34@db:5432/x", "postgresql://***@db:5432/x"),
        ("from https://a:b@c/d to http://e:f@g/h", "from https://***@c/d to http://***@g/h"),
        ("'https://tok@host', \"https://tok@host\"", "'https://***@host', \"https://***@host\""),
        ('ssh://u:pa"ssw@rd@host/srv', "ssh://***@host/srv"),
        ('{"a":"ssh://u:p"q@h","b":"x@y"}', '{"a":"ssh://***@h","b":"x@y"}'),
        ('["https://a:b@c","https://d:e@f"]', '["https://***@c","https://***@f"]'),
        ('<a href="https://a:b@c">x@y</a>', '<a href="https://***@c">x@y</a>'),
        ("https://h/f?X-Amz-Signature=ab%2Fc&x=1", "https://h/f?X-Amz-Signature=***&x=1"),
        ("https://h/f?sig=a&se=2", "https://h/f?sig=***&se=2"),
        ("https://h/f?x=1&access_token=a.b#c", "https://h/f?x=1&access_token=***#c"),
        ("https://h/f#id_token=a", "https://h/f#id_token=***"),
        ("host=db user=ann password=a/b dbname=x", "host=db user=ann password=*** dbname=x"),
        ("host=db password='a b' dbname=x", "host=db password=*** dbname=x"),
        ("AccountName=a;AccountKey=bc==;E=1", "AccountName=a;AccountKey=***;E=1"),
        ("--db-password=a", "--db-password=***"),
        ("Server=x;Pwd=abc", "Server=x;Pwd=***"),
        ("https://h/f;token=a&x=1", "https://h/f;token=***&x=1"),
        ("GET /f?x=1;token=a&y=2", "GET /f?x=1;token=***&y=2"),
        ("--api-token=abc", "--api-token=***"),
        ("user: ann\npassword: x y", "user: ann\npassword: *** y"),
        ("db_password: 'a b'", "db_password: ***"),
        ('{"password": "x, \\"y", "user": "ann"}', '{"password": "***", "user": "ann"}'),
        ("{'api_key': 'x'}", "{'api_key': '***'}"),
        ('{"Authorization": "Bearer x"}', '{"Authorization": "***"}'),
        ("Authorization: Bearer x", "Authorization: Bearer ***"),
        ("authorization: abc, next", "authorization: ***, next"),
        ("to https://hooks.slack.com/services/T0/B0/xyz:", "to https://hooks.slack.com/services/***"),
        ("https://discord.com/api/webhooks/12/ab-c", "https://discord.com/api/webhooks/***"),
    ],
)
def test_secrets_in_addresses_are_hidden(text, shown):
    """Of whatever scheme, with or without a colon, whatever the password holds; and those in queries."""
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:4200/api and s3://bucket/a@b",
        "http://127.0.0.1:4200/api/a@b",
        "http://localhost:4200/@ann",
        "https://example.org:443?mail=ann@host",
        "https://example.org/@ann/post?q=a@b",
        "http://[::1]:4200/a@b",
        "postgresql://USER@HOST:5432/NAME; the password comes from PGPASSWORD or ~/.pgpass.",
        "az://container@account/x",
        "https://h/f?keyword=a&monkey=b&design=c&pathway=d&X-Amz-Expires=60",
        "random_walk.beta=10, passes=3, secretary=x, PATH=/usr/bin",
        "wrote 12 masks in data/masks",
        "monkey: a, keyboard: b, tokens: 5, token: 3, secret: none, pass: 2, pattern=x, max_tokens=5",
        "https://discord.com/channels/1 and https://slack.com/services/a",
        "the file of the password:",
        "/etc/passwd: leads out of the project",
    ],
)
def test_ordinary_texts_stay(text):
    """Ports, users without a password, an @ in a path, names that only resemble those of secrets."""
    assert masked(text) == text


@given(st.text())
def test_any_text_is_masked_once(text):
    """Masking fails on no text, and a masked text is not masked again."""
    assert masked(masked(text)) == masked(text)


def test_errors_and_lines_hold_no_secret(monkeypatch, capsys):
    """Whoever prints, stores or sends an error has no secret to leak."""
    monkeypatch.setenv("MY_TOKEN", "rose-bud")
    error = DataError("https://a:b@host: rose-bud", "Type rose-bud.")
    assert (error.problem, error.remedy, str(error)) == (
        "https://***@host: ***",
        "Type ***.",
        "https://***@host: ***\nType ***.",
    )
    assert "rose-bud" not in repr(error)
    say("say rose-bud")
    show("show rose-bud")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("show ***\n", "say ***\n")
    left = LeftOut("https://a:b@h/x", "t.csv, row 1", "https://h/x?sig=abc", "https://a:b@h/x: not fetched")
    assert left.line == "t.csv, row 1: https://h/x?sig=***: https://***@h/x: not fetched"
    assert left.image_id == "https://***@h/x"


def test_logs_hold_no_secret(monkeypatch, caplog):
    """Neither a message nor its arguments nor a traceback; a message that does not fit its arguments is left as it is."""
    before = logging.getLogRecordFactory()
    monkeypatch.setenv("MY_TOKEN", "rose-bud")
    try:
        mask_logs()
        mask_logs()
        logger = logging.getLogger("of-another-library")
        logger.warning("%s and %d", "rose-bud", 3)
        logger.warning("no secret: %s", "x")
        try:
            raise RuntimeError("failed with rose-bud")
        except RuntimeError:
            logger.exception("as follows")
        assert caplog.records[0].getMessage() == "*** and 3"
        assert caplog.records[1].args == ("x",)
        assert "failed with ***" in caplog.text
        assert "rose-bud" not in caplog.text
    finally:
        logging.setLogRecordFactory(before)


def test_control_characters_are_escaped(capsys):
    """A terminal would obey them: clear the screen, write over a line, turn its direction."""
    say("a\x1b[2Jb\rc\x9bd\x07\u2028\u202e\x85\n\tend é 名前")
    assert capsys.readouterr().err == "a\\x1b[2Jb\\rc\\x9bd\\x07\\u2028\\u202e\\x85\n\tend é 名前\n"
    assert printable("plain") == "plain"


@pytest.mark.parametrize("password", ["a b", 'a"b', "a<b>", "a/b@c", 'a",b', "a\nb", ":"])
def test_the_login_of_one_address_is_hidden(password):
    """Whatever is in it; an @ in the path, or a port, is no login."""
    assert without_login(f"ssh://ann:{password}@host/srv") == "ssh://***@host/srv"
    for address in (
        "s3://bucket/a:b@c",
        "ssh://host.org:22/a@b",
        "ssh://[::1]/a@b",
        "ssh://ann@host/srv",
        "/srv/a:b@c",
    ):
        assert without_login(address) == address
