"""The watch's own programs: what the watcher runs, with Python's standard library alone.

The watcher is a host of the site, where no package of Phoenix is installed. So nothing in here
imports anything but the standard library and its neighbours, and Debian 12's Python (3.11) runs it.
"""
