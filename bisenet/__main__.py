"""The command line: `python -m bisenet COMMAND --help`."""

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

# Mostly it is another Python than that of the environment.
CANNOT_START = (
    f"bisenet cannot start: {{}}; this is Python {sys.version.split()[0]}, {sys.executable}: activate the environment "
    "(source .venv/bin/activate), or make it"
)

try:
    from bisenet.commands.common import PROGRAM, Command, CommandError, take_part
    from bisenet.data import describe
    from bisenet.runs.provenance import unused_gpu
except ImportError as error:
    sys.exit(CANNOT_START.format(error))

# Of `bisenet.commands`; a command is looked for from the last on, since the first take seconds to load.
MODULES = ("training", "measuring", "using")


def main(words: list[str] | None = None) -> int:
    """Run one command; 0 if it succeeded, 1 with one line on stderr for an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # "±" must not end a command where the locale has no such sign
            stream.reconfigure(errors="replace")
    words = sys.argv[1:] if words is None else words
    try:
        parser = make_parser(words)
    except ImportError as error:
        sys.exit(CANNOT_START.format(error))
    arguments = parser.parse_args(words)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # without our lines of code
    warnings.filterwarnings("ignore", "The `srun` command is available")  # of Lightning, wherever a cluster is near
    code = 0
    try:
        take_part(arguments)
        if reason := unused_gpu():
            warnings.warn(reason, stacklevel=1)
        if hasattr(arguments, "dataset"):
            describe(arguments.dataset, getattr(arguments, "data_root", None))
        arguments.run(arguments)
    except BrokenPipeError:  # what reads the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 141
    except Exception as error:
        if message := _message(error):
            print(f"{PROGRAM} {arguments.command}: {message}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        trains = arguments.command in ("train", "reproduce")
        going_on = ", training goes on from the last checkpoint" if trains else ""
        from bisenet.runs.together import first_to_tell

        if first_to_tell():
            print(f"\ninterrupted; what is done is kept{going_on}", file=sys.stderr)
        code = 130
    together = sys.modules.get("bisenet.runs.together")  # not loaded where nothing was trained
    return together.leave(code) if code and together else code


def _message(error: Exception) -> str:
    """What is said of an error; nothing if another process says it."""
    from bisenet.execution import SaidByFirstError
    from bisenet.runs.errors import told
    from bisenet.runs.together import first_to_tell

    if isinstance(error, SaidByFirstError) or not first_to_tell():
        return ""
    return str(error) if isinstance(error, CommandError) else told(error)


def make_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A parser that knows the command of these words; every command, if they name none."""
    known: dict[str, Command] = {}
    for module in reversed(MODULES):
        if not known.keys() & {*words[:1]}:
            known = importlib.import_module(f"bisenet.commands.{module}").COMMANDS | known
    parser = argparse.ArgumentParser(PROGRAM, description="A reproducible companion to BiSeNet V2.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, add_flags, run) in known.items():
        command = commands.add_parser(name, help=text, description=text)
        add_flags(command)
        command.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
