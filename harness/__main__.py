"""``python -m harness`` is ``uintr-harness``."""

from harness.cli import main

if __name__ == "__main__":
    main()
