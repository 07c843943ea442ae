"""The study in this process follows the contract."""

import pytest

from curvestop.srm import Study
from tests.contracts import MakeStudy, StudyContract


class TestStudy(StudyContract):
    @pytest.fixture
    def make(self) -> MakeStudy:
        return Study
