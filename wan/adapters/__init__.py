"""The camera adapters: one interface, one file per design, and their files."""
