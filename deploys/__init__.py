"""One plain deploy per component; all.py runs them in dependency order."""
