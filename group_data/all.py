"""What this site sets otherwise than Phoenix does by itself, for every host.

Every setting, its type, default and meaning: docs/reference.md. A file beside this one that is
called like a group (nginx.py) or an inventory (lab.py) changes a setting for its hosts alone.
Secrets do not belong here: see docs/secrets.md.
"""

timezone = "America/New_York"
step_ca_organisation = "ThinkHeads"
