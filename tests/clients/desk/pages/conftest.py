"""An insurer's console at a real hub with real holders and tables; its staff in browsers."""

import random
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from clients.desk.pages.check import DeskPages
from clients.desk.pages.counter import Counter
from clients.office import node_office
from compliance.agreement.vocabulary import Title
from compliance.signin.pages.assembling import open_console
from compliance.signin.settings import SignInSettings
from compliance.web.formats import at_taipei
from tests.browsers import ORIGIN, STAFF, Browser, hired

TITLE = Title("Formosa Life", "福爾摩沙人壽")


@dataclass
class Scene:
    """A console with a desk, and the town behind it."""

    console: object
    town: object
    root: object

    def browser(self):
        return Browser(self.console.site.app())

    def signed_in(self, name="dora"):
        browser = self.browser()
        answer = browser.sign_in(name)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        return browser


@pytest.fixture
def make_scene(town):
    """Open consoles; it is ten in the morning, when people may look."""
    now = at_taipei(town.clock.now())
    town.clock.advance((10 - now.hour) % 24 * 3600)
    with ExitStack() as ending:

        def make(origin=ORIGIN, demo=False):
            home = town.home()
            staff = hired(home.root, STAFF | {"dan": "desk"}, now=town.clock.now())
            office = ending.enter_context(node_office(home, clock=town.clock))
            counter = Counter(home.root, clock=town.clock)
            ending.callback(counter.close)
            console = open_console(
                home.root, office, title=TITLE, origin=origin, settings=SignInSettings(),
                pages=lambda door: DeskPages(
                    counter, office, door.register, random.Random(1).randbytes
                ).pages(),
                packages=("clients.desk.pages",), staff=staff, demo=demo,
            )  # fmt: skip
            ending.enter_context(console)
            return Scene(console, town, home.root)

        yield make


@pytest.fixture
def scene(make_scene, town):
    town.publish(contributor="telecom")
    return make_scene()
