"""For operators and deploy scripts: check, compare and edit server files, list images."""
