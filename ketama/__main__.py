"""`python -m ketama`: the command."""

from ketama.cli import main

if __name__ == "__main__":
    main()
