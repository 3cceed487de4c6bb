"""The ground floor: precision, files, media, logging, the command line. No opinion about Wan or cameras."""
