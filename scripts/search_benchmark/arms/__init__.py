"""One file for each way to run the same search, each a command of its own."""
