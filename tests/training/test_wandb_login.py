"""Whether W&B has an account here, which decides whether a run is sent to it."""

from pathlib import Path

import pytest

from genreclf.training.loggers import PatientWandbLogger, is_wandb_offline


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb"))


def log_in(host: str) -> None:
    Path("~/.netrc").expanduser().write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")


def test_a_login_counts_for_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_wandb_offline()
    log_in("api.wandb.ai")
    assert not is_wandb_offline()
    monkeypatch.setenv("WANDB_BASE_URL", "https://music.example.org")
    assert is_wandb_offline()
    log_in("music.example.org")
    assert not is_wandb_offline()
    monkeypatch.delenv("WANDB_BASE_URL")
    assert is_wandb_offline()
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("[default]\nbase_url = https://music.example.org\n")
    assert not is_wandb_offline()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert is_wandb_offline()


@pytest.mark.parametrize(
    ("mode", "resume"),
    [("online", "auto"), ("run", "auto"), ("shared", "auto"), ("offline", None), ("dryrun", None)],
)
def test_a_record_that_is_sent_can_be_resumed(
    mode: str, resume: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def init(**given: object) -> None:
        asked.append(given["resume"])
        raise KeyboardInterrupt

    monkeypatch.setattr("wandb.init", init)
    monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(KeyboardInterrupt):
        PatientWandbLogger(save_dir=tmp_path)
    assert asked == [resume]
    assert is_wandb_offline() is (resume is None)


def test_a_token_is_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "token")
    assert not is_wandb_offline()
