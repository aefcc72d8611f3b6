"""The command line: `python -m bisenet COMMAND --help`."""

import argparse
import io
import os
import sys
import warnings

try:
    from bisenet.commands import measuring, training, using
    from bisenet.commands.common import PROGRAM, CommandError, take_part
    from bisenet.data import describe
    from bisenet.execution import SaidByFirstError
    from bisenet.runs.errors import told
    from bisenet.runs.provenance import unused_gpu
    from bisenet.runs.together import first_to_tell
except ImportError as error:  # mostly of another Python than that of the environment
    python = f"this is Python {sys.version.split()[0]}, {sys.executable}"
    sys.exit(
        f"bisenet cannot start: {error}; {python}: activate the environment (source .venv/bin/activate), or make it"
    )


def main(words: list[str] | None = None) -> int:
    """Run one command; 0 if it succeeded, 1 with one line on stderr for an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # "±" must not end a command where the locale has no such sign
            stream.reconfigure(errors="replace")
    arguments = make_parser().parse_args(words)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # without our lines of code
    warnings.filterwarnings("ignore", "The `srun` command is available")  # of Lightning, wherever a cluster is near
    try:
        take_part(arguments)
        if reason := unused_gpu():
            warnings.warn(reason, stacklevel=1)
        if hasattr(arguments, "dataset"):
            describe(arguments.dataset, getattr(arguments, "data_root", None))
        arguments.run(arguments)
    except SaidByFirstError:
        return 1
    except BrokenPipeError:  # what reads the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if first_to_tell():
            message = str(error) if isinstance(error, CommandError) else told(error)
            print(f"{PROGRAM} {arguments.command}: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        trains = arguments.command in ("train", "reproduce")
        going_on = ", training goes on from the last checkpoint" if trains else ""
        if first_to_tell():
            print(f"\ninterrupted; what is done is kept{going_on}", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(PROGRAM, description="A reproducible companion to BiSeNet V2.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, add_flags, run) in (training.COMMANDS | using.COMMANDS | measuring.COMMANDS).items():
        command = commands.add_parser(name, help=text, description=text)
        add_flags(command)
        command.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
