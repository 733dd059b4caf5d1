"""`python -m hyper_py` is the command `hyper-py`."""

from hyper_py.cli import main

if __name__ == "__main__":
    main()
