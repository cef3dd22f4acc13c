"""The same tests on other versions: `nox -l` lists them. What a pull request needs is `make test`; this is for a release."""

import nox

nox.options.sessions = ["pythons", "lowest", "newest_django"]
STAGES = ("unit", "sqlite", "postgres")


@nox.session(python=["3.11", "3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The pinned versions on every Python that we name."""
    session.install("-r", "requirements.txt")
    session.run("python", "tests/run.py", *STAGES)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The lowest versions that pyproject.toml allows."""
    session.install("-r", "requirements.txt")
    project = nox.project.load_toml("pyproject.toml")["project"]
    session.install(*(requirement.replace(">=", "==") for requirement in project["dependencies"]))
    session.run("python", "tests/run.py", *STAGES)


@nox.session(python="3.13")
def newest_django(session: nox.Session) -> None:
    """What comes next, prereleases included."""
    session.install("-r", "requirements.txt")
    session.install("--pre", "--upgrade", "django", "channels", "daphne", "channels-redis", "msgspec")
    session.run("python", "tests/run.py", *STAGES)
