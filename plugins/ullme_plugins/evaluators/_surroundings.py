"""What mteb does to a process besides scoring, undone: random state, logging, progress bars, a cache folder."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Show = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Told a description and a number of texts; gives what is told how many of them are done."""


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Python's, numpy's and torch's global random state are afterwards what they were: mteb seeds them all with 42."""
    import numpy as np
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextlib.contextmanager
def mteb_imported() -> Iterator[None]:
    """mteb is imported, and logs errors only inside. Unless MTEB_CACHE is set, it gets no cache folder in the home."""
    with contextlib.ExitStack() as stack:
        if "MTEB_CACHE" not in os.environ:  # importing creates the folder
            os.environ["MTEB_CACHE"] = stack.enter_context(tempfile.TemporaryDirectory())
            stack.callback(os.environ.pop, "MTEB_CACHE")
        import mteb

    logger = logging.getLogger(mteb.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches standard error: some of mteb's bars and warnings cannot be switched off otherwise."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def progress_bars(visible: bool) -> Show:
    """Bars over the texts that are being encoded, one at a time, on what is standard error now."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    hidden = not (visible and console.is_terminal)

    @contextlib.contextmanager
    def show(description: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
            bar = progress.add_task(description, total=total)
            yield lambda done: progress.advance(bar, done)

    return show
