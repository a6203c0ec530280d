"""Whether something can be written where a user wants it, found out before long work and not after it."""

from __future__ import annotations

import os
from pathlib import Path

from optimizer.errors import InvalidInput


def check_target(option: str, path: Path | None) -> None:
    """Refuse a file that could not be written in the end; ``None``: nothing is to be written.

    Args:
        option: What names it, for people.
        path: The file.

    Raises:
        InvalidInput: Its folder is missing, it is a folder itself, or it may not be written.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InvalidInput(option, str(path), f"make the folder {folder} first")
    if path.is_dir():
        raise InvalidInput(option, str(path), "name a file; this is a folder")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InvalidInput(option, str(path), "name a file that may be written")
