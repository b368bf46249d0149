"""`python -m dltool` is the command `dltool`."""

from dltool.cli.main import main

if __name__ == "__main__":
    main()
