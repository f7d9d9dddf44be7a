"""The lab's Portainer: an emulator of server and agent, and the images that carry it."""
