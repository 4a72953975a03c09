"""``python -m scruot`` is the command ``scruot``."""

from scruot.cli import main

if __name__ == "__main__":
    main()
