"""What happens to a run on its machine: a full disk, a folder that cannot be written, no memory left.

Libraries tell of the same accident with errors of many types. Here they become one `InputError` that says
what was being written or computed, and what to do.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lingualign.errors import InputError
from lingualign.paths import shortened

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_NAME = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR}
# What Rust libraries (safetensors, tokenizers), `shutil` and `torch.save` say: their errors carry no number.
FULL_TEXTS = {
    **{os.strerror(number): number for number in sorted(FULL)},
    "PytorchStreamWriter failed writing": errno.ENOSPC,
    ". unexpected pos ": errno.ENOSPC,  # likewise, when the file is closed
}
MEMORY_TEXTS = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc")
ROOM = "Make room, then give the same command again: it goes on where it stopped."
RIGHTS = "Give yourself the right to it, or choose another file or folder."
MEMORY = (
    "Lower sampling.batch_tokens or reward.batch_tokens; in training, lower training.micro_batch_pairs or "
    "set training.gradient_checkpointing=true. The same command goes on where it stopped."
)


def explain(error: BaseException, what: Path | None = None) -> InputError | None:
    """The error for users, if an error tells of a full disk, of a missing right or of no memory.

    Args:
        error: What was raised.
        what: The file or folder that was being made; an `OSError` that names one knows better.

    Returns:
        None for any other error: a defect, or something else's to explain.
    """
    if isinstance(error, InputError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        number = next((FULL_TEXTS[text] for text in FULL_TEXTS if text in str(error)), None)
    path = getattr(error, "filename", None) or what
    if number in FULL:
        free = f"{free_bytes(Path(path)) / 1e9:.2f} GB are free there" if path else "the disk is full"
        return InputError(f"{path or 'A file'} cannot be written: {os.strerror(number)} ({free}).", ROOM)
    if number in FORBIDDEN:
        return InputError(f"{path or 'A file'}: {os.strerror(number)}.", RIGHTS)
    if number in NO_NAME:
        return InputError(f"{shortened(path or 'A file')}: {os.strerror(number)}.", "Give another path.")
    return out_of_memory(error, what) if is_out_of_memory(error) else None


def out_of_memory(error: BaseException, what: str | Path | None = None, remedy: str = MEMORY) -> InputError:
    """The error for users where memory ran out.

    Args:
        error: What was raised.
        what: What was being computed.
        remedy: What to do.
    """
    told = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{what or 'lingualign'}: out of memory ({told}).", remedy)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine has no memory left, in the words of any library."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY_TEXTS)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses while a file is written into an error that names the file.

    Args:
        path: The file, by the name that it will have.

    Raises:
        InputError: The disk is full, may not be written, fails, or whatever else it is.
    """
    try:
        yield
    except OSError as error:
        error.filename = None  # a temporary name
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise explain(error, path) or InputError(f"{path} cannot be written: {reason}.") from error


def nearest_folder(path: Path) -> Path:
    """The path, or what is there of it: its nearest parent."""
    existing = path.expanduser().absolute()
    while not existing.exists():
        existing = existing.parent
    return existing


def free_bytes(path: Path) -> int:
    """Bytes free where a file or a folder is or will be."""
    return shutil.disk_usage(nearest_folder(path)).free
