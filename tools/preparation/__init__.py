"""What the tools that prepare data sets share, and the work of each; `tools/prepare_*.py` are their command lines."""
