"""`python -m model_foundry`: the `foundry` command."""

from model_foundry.cli import main

if __name__ == "__main__":
    main()
