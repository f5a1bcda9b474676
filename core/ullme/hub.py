"""A written folder to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ullme import __version__
from ullme.errors import ConfigError, OutputError

PLACEHOLDER = '"PATH"'
"""Stands in a card for where the model is loaded from."""


def check_id(repo: str) -> None:
    """Raise ConfigError unless `repo` is ORG/NAME as the hub takes it."""
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo) or "--" in repo or ".." in repo:
        raise ConfigError(f"--push {repo}: expected ORG/NAME")


def push(folder: Path, repo: str, *, private: bool = False, api: Any = None) -> str:
    """Upload `folder` as one commit to `repo`, made if it is not there; the address of that commit.

    Uses the login of `hf auth login` or HF_TOKEN. Raises OutputError if the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    check_id(repo)
    card = folder / "README.md"
    if card.is_file():
        card.write_text(card.read_text("utf-8").replace(PLACEHOLDER, f'"{repo}"'), "utf-8")
    api = HfApi() if api is None else api
    try:
        api.create_repo(repo, repo_type="model", private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, repo_type="model", folder_path=folder, commit_message=f"Exported by ullme {__version__}"
        )
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise OutputError(
            f"--push {repo}: {str(error).strip().splitlines()[0]}\n"
            f"  `hf auth login` logs in. The export itself is whole, in {folder}: `hf upload {repo} {folder}` sends it."
        ) from error
    return str(getattr(done, "commit_url", None) or done)
