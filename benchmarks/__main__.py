"""`python -m benchmarks`; the work is in a module of its own, which fresh processes can import by its name."""

from benchmarks.parts import main

if __name__ == "__main__":
    main()
