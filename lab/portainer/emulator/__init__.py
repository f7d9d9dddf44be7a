"""An emulator of Portainer CE's server and agent, for machines that can't pull the real images.

It needs Python 3.11+ and `cryptography` only, and the docker CLI with compose v2 to deploy; this
directory is copied into the image as it is and started with ``python3 -m emulator``. Behaviour
follows /work/shared/reference/portainer_api.md; tests/contract holds it to that, and can hold a
real server to the same.
"""
