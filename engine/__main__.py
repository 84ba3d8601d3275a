"""The process of `vfiostate`, and of `python -m engine`: the program from its first moment to its last."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command line of this process. Returns the exit code and raises nothing."""
    try:
        # Here, not above: an end asked for while this is read is an end as at any other moment.
        from engine.cli import main as run

        return run()
    except KeyboardInterrupt:
        # While it is read, or a second time, while the first is being answered: nothing is said of what was done.
        sys.stderr.write("vfiostate: Ended by SIGINT.\n")
        return 130
    finally:
        # The interpreter would look through all that was imported once more, for cycles to tidy up that end with the
        # process anyway: a fifth of a short run. Whoever opened a file has closed it.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
