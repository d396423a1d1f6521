"""`python -m autockd`: the command line."""

import sys

from autockd.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
