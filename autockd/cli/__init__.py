"""The command line. It starts fast: a command imports what is slow to import, and others do not pay for it."""
