import pytest

from tests.site.declarations import own_declarations


@pytest.fixture(autouse=True)
def declarations():
    with own_declarations():
        yield
