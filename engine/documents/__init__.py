"""What is read about the program elsewhere, made from the program: manual pages, and completion for three shells.

`python -m engine.documents DIR` writes them below DIR, as below a prefix such as /usr. The build of a wheel does the
same (engine.documents.backend); the running program never comes here.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.documents import bash, fish, grammar, keys_manual, manual, zsh


def documents(date: str) -> Mapping[str, str]:
    """Every file by its path below the prefix. `date` stands in the manual pages, as 2026-11-26.

    Raises UndocumentedError for a command or an option without words.
    """
    program = grammar.read()
    return {
        "share/man/man1/vfiostate.1": manual.page(program, date),
        "share/man/man5/vfiostate.toml.5": keys_manual.page(date),
        "share/bash-completion/completions/vfiostate": bash.script(program),
        "share/zsh/site-functions/_vfiostate": zsh.script(program),
        "share/fish/vendor_completions.d/vfiostate.fish": fish.script(program),
    }
