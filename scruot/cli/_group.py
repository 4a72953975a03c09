"""How every command ends: one line for an error, 130 for an interrupt, logs on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["Group", "silence"]

# What the library raises on purpose, what files and devices raise, and no more: anything else is
# a mistake of scruot's own and shows its traceback.
_EXPECTED = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    FloatingPointError,
    MemoryError,
    RuntimeError,
)
_INTERRUPTED = 130
_DEBUG = "--debug"


class Group(TyperGroup):
    """The commands, with what they have in common around them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let ``--debug`` stand anywhere, where one adds it to a command that has failed."""
        if _DEBUG in args:
            args = [_DEBUG, *(arg for arg in args if arg != _DEBUG)]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command and end as documented."""
        try:
            with _logging_to_stderr():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            hint = f" {interrupt}" if interrupt.args else ""
            typer.echo(f"\nscruot: interrupted, no output written.{hint}", err=True)
            raise typer.Exit(_INTERRUPTED) from None
        except (BrokenPipeError, typer.Exit, typer.Abort):
            raise
        except _EXPECTED as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"scruot: error: {one_line(error)}", err=True)
            raise typer.Exit(1) from None


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks, without a KeyError's quotes."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.split())
    # a bare word, as of a mapping without an entry, says too little by itself
    return text if " " in text else f"{type(error).__name__}: {text}".rstrip(": ")


def silence(quiet: bool) -> None:  # noqa: FBT001 - the flag is the command's own
    """Log warnings alone if ``quiet``, until the command ends."""
    if quiet:
        logging.getLogger("scruot").setLevel(logging.WARNING)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    logger = logging.getLogger("scruot")
    level = logger.level
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("scruot: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
