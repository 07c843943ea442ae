"""The study in this process follows the contract."""

import pytest

from curvestop.srm.study import Study
from tests.contracts import MakeStudy, StudyContract
from tests.contracts_many import ManyContract
from tests.contracts_overview import OverviewContract
from tests.contracts_policy import PolicyContract
from tests.contracts_second_chances import SecondChanceContract


class TestStudy(StudyContract, PolicyContract, ManyContract, SecondChanceContract, OverviewContract):
    @pytest.fixture
    def make(self) -> MakeStudy:
        return Study
