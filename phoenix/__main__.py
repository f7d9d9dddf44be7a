"""`python -m phoenix`: the same as the command `phoenix`."""

from phoenix.cli.app import main

if __name__ == "__main__":
    main()
