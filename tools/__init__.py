"""Stand-alone scripts, imported by nobody."""
