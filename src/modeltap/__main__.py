"""`python -m modeltap` is the command line."""

from modeltap.cli.main import main

if __name__ == "__main__":
    main()
