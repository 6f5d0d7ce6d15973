"""Scripts with which shells complete the command: subcommands, their flags, and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def script(shell: str, commands: Mapping[str, tuple[type[Any], str | None, str]]) -> str:
    """The script of a shell; what it completes is written into it, so that nothing has to start.

    Args:
        shell: one of :data:`SHELLS`.
        commands: flags, by subcommand.
    """
    flags = {name: flags_of(settings) for name, (settings, _, _) in commands.items()}
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](flags)


def flags_of(settings: type[Any]) -> list[str]:
    """The flags of a subcommand, as they are typed.

    >>> from .flags import ShowFlags
    >>> flags_of(ShowFlags)
    ['--help', '--json', '--quiet', '--picture', '--plain', '--before']
    """
    return ["--help", *(f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(settings))]


def _cases(flags: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f'    {name}) words="{" ".join(found)}" ;;' for name, found in flags.items())


def _bash(flags: Mapping[str, Sequence[str]]) -> str:
    return f"""# source <(condensery --print-completion bash)
_condensery() {{
  local words
  case "${{COMP_WORDS[1]}}" in
{_cases(flags)}
    *) words="{" ".join(flags)} --help --version" ;;
  esac
  COMPREPLY=( $(compgen -W "$words" -- "$2") )
}}
complete -o default -o bashdefault -F _condensery condensery
"""


def _zsh(flags: Mapping[str, Sequence[str]]) -> str:
    return f"""#compdef condensery
# source <(condensery --print-completion zsh)
_condensery() {{
  local words
  if (( CURRENT == 2 )); then
    words="{" ".join(flags)} --help --version"
    compadd -- ${{=words}}
    return
  fi
  case "${{(Q)${{(z)BUFFER}}[2]}}" in
{_cases(flags)}
  esac
  [[ "$PREFIX" == -* ]] && compadd -- ${{=words}} || _files
}}
compdef _condensery condensery
"""


def _fish(flags: Mapping[str, Sequence[str]]) -> str:
    first = "__fish_use_subcommand"
    lines = [
        "# condensery --print-completion fish | source",
        f'complete -c condensery -n {first} -f -a "{" ".join(flags)}"',
    ]
    for name, found in flags.items():
        inside = f'"__fish_seen_subcommand_from {name}"'
        lines += [f"complete -c condensery -n {inside} -l {flag[2:]}" for flag in found]
    return "\n".join(lines) + "\n"
