"""`python -m trimtab`: the same entry point as the `trimtab` command."""

from trimtab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
