"""Paths as users and files of settings write them."""

from __future__ import annotations

from pathlib import Path

from lingualign.errors import InputError


def user_path(text: str | Path) -> Path:
    """A path with `~` expanded, which may or may not be there, and which the system can be asked about.

    Raises:
        InputError: No file can be called so (a name too long, a NUL, half a surrogate pair), `~name` is no
            user here, or a folder on the way may not be looked into.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise InputError(f"{shortened(text)}: {error.strerror}.", "Give another path.") from None
    except (RuntimeError, ValueError) as error:  # no such user; a NUL or half a surrogate pair
        raise InputError(f"{shortened(text)}: this is no path ({error}).", "Give another path.") from None
    return path


def shortened(text: str | Path) -> str:
    """A path for a message: whole, or its beginning and end where it is long."""
    shown = str(text)
    return shown if len(shown) <= 200 else f"{shown[:100]}...{shown[-50:]}"
