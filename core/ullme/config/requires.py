"""`requires:`: distributions that a pipeline needs, as PEP 508 requirements."""

from importlib import metadata


def satisfied(text: str) -> str:
    """`text` itself, if this environment satisfies the requirement in it. Raises ValueError saying what is missing."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ValueError(f"expected a requirement such as 'ullme>=0.1', found {text!r}") from None
    if requirement.marker and not requirement.marker.evaluate():
        return text
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        raise ValueError(f"{requirement.name} is required but not installed.\n  pip install '{text}'") from None
    if not requirement.specifier.contains(installed, prereleases=True):
        wanted = f"{requirement.name}{requirement.specifier}"
        raise ValueError(f"{wanted} is required, found {installed}.\n  pip install '{text}'")
    return text
