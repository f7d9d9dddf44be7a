"""The container lab: the site's guests as containers that boot systemd and sshd.

`python3 lab COMMAND` is the way in; `lab.state.load()` tells other code what is running. Nothing
here may be imported with more than the standard library before `lab.bootstrap` has run.
"""
