# SPDX-License-Identifier: MIT
"""`localq completion`: the script by which a shell completes these commands, names of queues and of tasks."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from localq.cli import localq

__all__ = ["completion"]

_EXAMPLES = """\b
Examples:
  eval "$(localq completion bash)"         in ~/.bashrc
  eval "$(localq completion zsh)"          in ~/.zshrc, after compinit
  localq completion fish > ~/.config/fish/completions/localq.fish

\b
Verbs, options, and the names of running queues are completed; after
`localq submit NAME`, the tasks that this queue can run.

\b
Exit status: 0 it was printed; 2 wrong usage.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete what is typed after `localq`."""
    found = get_completion_class(shell)
    assert found is not None
    # click's own for bash asks the bash that it finds for its version: here whoever reads the script has it.
    click.echo(found.source_template % found(localq, {}, "localq", "_LOCALQ_COMPLETE").source_vars(), nl=False)
