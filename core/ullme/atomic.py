"""Files and folders that are whole or absent: written beside their place, then renamed into it."""

import errno
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ullme.errors import ConfigError, OutputError

# What a disk says when it cannot take more. Other errors inside a caller's block are not about the output.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A handle whose bytes appear under `path` when the block ends well; otherwise `path` is as it was.

    `mode` is "wb" or "w" (UTF-8). Raises OutputError when the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link, its target is replaced
    if target.exists() and not target.is_file():
        raise OutputError(f"cannot write {path}: it exists and is not a regular file; name another output")
    temp = _beside(target)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with _output_errors(path):
        handle = temp.open(mode.replace("w", "x"), **text)
    try:
        with _output_errors(path, only=_FULL), handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        with _output_errors(path):
            os.replace(temp, target)
    finally:
        temp.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: str | Path, *, replace: bool = True) -> Iterator[Path]:
    """An empty folder that becomes `path` when the block ends well; otherwise `path` is as it was.

    A folder already there is replaced or, with `replace=False`, wins over the new one. Replacing takes two renames: a
    process killed between them leaves the old folder as `.NAME.*.old`, so give what must survive a kill a name of its
    own. Raises OutputError when the folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise OutputError(f"cannot write {path}: it exists and is not a folder; name another output")
    temp = _beside(target)
    with _output_errors(path):
        temp.mkdir()
    try:
        with _output_errors(path, only=_FULL):
            yield temp
        with _output_errors(path):
            _move_into_place(temp, target, replace)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def taken(path: Path) -> bool:
    """Whether something is at `path` that a new folder would replace."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def locked(folder: Path, name: str) -> IO[str]:
    """An open file holding the folder's lock until it is closed, which the end of the process does.

    Raises ConfigError, calling the folder `name`, while another process holds it.
    """
    file = (folder / ".lock").open("w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # not a POSIX system: no lock
        pass
    except BlockingIOError:
        file.close()
        raise ConfigError(f"{name}: another process is at work there; wait, or use another output") from None
    return file


def _move_into_place(temp: Path, target: Path, replace: bool) -> None:
    try:
        os.rename(temp, target)
        return
    except OSError:
        if not target.is_dir():
            raise
    if not replace:
        return
    old = temp.with_suffix(".old")
    os.rename(target, old)
    try:
        os.rename(temp, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")


@contextmanager
def _output_errors(path: str | Path, only: Collection[int] = ()) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None or (only and error.errno not in only):
            raise
        parent = Path(path).absolute().parent
        reason = error.strerror if parent.is_dir() else f"the folder {parent} does not exist"
        raise OutputError(f"cannot write {path}: {reason}; earlier outputs are intact") from error
