"""`python -m activebmr` is the command `activebmr`."""

import sys

from activebmr.cli import main

if __name__ == "__main__":
    sys.exit(main())
