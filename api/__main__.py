"""Makes ``python -m api`` the command line, where the command itself is not on the PATH."""

from __future__ import annotations

from api.cli import main

main()
