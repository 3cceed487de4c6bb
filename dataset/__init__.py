"""From a TOML file to cache files to training batches."""
