"""An emulator of Portainer CE's server and agent, for machines that can't pull the real images.

It needs Python 3.11 or newer and `cryptography`, and the docker CLI with compose v2 to deploy. The
lab copies this directory into an image and starts it with ``python3 -m portainer_emulator``. It
answers as Portainer CE does (server 2.21 to 2.45, agent 2.x): tests/contract says what that is, and
runs against a real server as well; tests/emulator tests what only the emulator has.
"""
