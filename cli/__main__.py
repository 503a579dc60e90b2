"""`python -m cli` is `videojam`."""

from cli.main import main

main()
