"""What the tests of networks and those of their costs share."""

import pytest

from facelib.models import costs


@pytest.fixture(scope="session")
def table():
    return costs.table()


@pytest.fixture(scope="session")
def counted(table):
    return table.drop_duplicates("network").set_index("network")
