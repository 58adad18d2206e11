"""`python -m benchmarks`; the work is in its own module, which new processes can import by name."""

from benchmarks.parts import main

if __name__ == "__main__":
    main()
