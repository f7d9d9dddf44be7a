"""The site is put back after a test that failed and may have left it broken."""

from __future__ import annotations

from tests.integration.project import DeadlineError, Project

ROTATIONS = ("", "continue", "root")
"""What may have to come first: nothing, the rest of a rotation, or a root that vouches for the
declared domain."""


def put_back(project: Project) -> str:
    """Converge the site as it is declared.

    Returns:
        The end of what the last run said, where that does not work; else "".
    """
    output = ""
    try:
        for rotation in ROTATIONS:
            if rotation:
                project.run("deploys/certs_rotate.py", data={"certs_rotate": rotation})
            run = project.run("deploys/all.py")
            if run.returncode == 0:
                return ""
            output = run.explain()
    except DeadlineError as error:
        output = str(error)
    return " ".join(output.split())[-400:]
