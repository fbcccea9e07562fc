"""Templates: everything is escaped, and a name that nobody has given is an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from compliance.policy.actors import StaffRole
from compliance.web import formats
from compliance.web.languages import Language

if TYPE_CHECKING:
    from compliance.web.site import Site
    from compliance.web.visit import Visit


class Renderer:
    """All templates of a site; may be used by several threads.

    Args:
        packages: with a folder `templates` each; the first that has a template gives it.
    """

    def __init__(self, site: Site, packages: Iterable[str]) -> None:
        self._site = site
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader(package, "templates") for package in packages]),
            # Of every template, whatever its ending.
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["number"] = formats.number
        self._environment.globals["static"] = site.static.path

    @property
    def names(self) -> list[str]:
        """Return the names of all templates."""
        return self._environment.list_templates()

    def render(self, visit: Visit, template: str, **values: Any) -> str:
        """Return a page as text."""
        return self._environment.get_template(template).render(**self._of_reader(visit), **values)

    def _of_reader(self, visit: Visit) -> dict[str, Any]:
        language, site = visit.language, self._site
        return {
            "visit": visit,
            "site": site,
            "title": site.title.text(language),
            "known": visit.known,
            "token": visit.token,
            "language": language,
            "languages": tuple(Language),
            "navigation": site.navigation(visit),
            "t": visit.text,
            "role": lambda role: visit.text(f"role.{StaffRole(role)}"),
            "moment": lambda seconds: formats.moment(seconds, language),
            "day": lambda seconds: formats.day(seconds, language),
            "span": lambda seconds: formats.span(seconds, language),
            "iso": formats.iso,
        }
